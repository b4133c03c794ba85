"""Every pixel is where it should be, and no word is cut."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from unmelt.errors import UsageError
from unmelt.picture import by_class, strip, tiles

WHITE = (255, 255, 255)


def _page(picture):
    return np.asarray(picture.convert("RGB")).astype(int)


def _edge(page):
    return np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]])


def _blocks(page, colour):
    """The top left corners and the sizes of all the rectangles of this colour."""
    mask = (page == np.array(colour)).all(2)
    rows, columns = np.nonzero(mask)
    return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1, mask.sum()


def test_small_images_are_enlarged_by_a_whole_factor_with_sharp_pixels():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
    image = torch.tensor(colours).float().T.view(1, 3, 2, 2) / 255
    page = _page(tiles(image))
    corners = [_blocks(page, colour) for colour in colours]
    assert all((height, width, area) == (24, 24, 576) for _, _, height, width, area in corners)
    top, left = corners[0][:2]
    assert [(c[0] - top, c[1] - left) for c in corners] == [(0, 0), (0, 24), (24, 0), (24, 24)]


def test_images_run_from_left_to_right_and_top_to_bottom():
    greys = [(10 * k,) * 3 for k in range(1, 8)]
    images = torch.tensor([grey[0] / 255 for grey in greys]).view(7, 1, 1, 1).expand(7, 1, 60, 50)
    page = _page(tiles(images, columns=3))
    places = [_blocks(page, grey) for grey in greys]
    assert all((height, width, area) == (60, 50, 3000) for _, _, height, width, area in places)
    rows, columns = [sorted({place[axis] for place in places}) for axis in (0, 1)]
    assert [(rows.index(p[0]), columns.index(p[1])) for p in places] == [divmod(k, 3) for k in range(7)]
    assert min(np.diff(rows)) > 60
    assert min(np.diff(columns)) > 50


def test_values_out_of_range_are_clipped():
    images = torch.tensor([-5.0, 7.0, float("nan"), float("inf")]).view(4, 1, 1, 1)
    page = _page(tiles(images, columns=4))
    row = page[page.shape[0] // 2, :, 0]
    assert np.count_nonzero(row == 0) == 2 * 48
    assert set(row) == {0, 255}


def test_long_labels_are_neither_cut_nor_laid_over_each_other():
    images = torch.zeros(6, 1, 8, 8)
    long = ["a very long label, gjpqy", "WWWWWWWWWWWWWWW"]
    page = _page(tiles(images, columns=3, row_labels=long, column_labels=[*long, "short"]))
    assert (_edge(page) == 255).all()
    # Between one column's words and the next there is white from top to bottom.
    tile_left = _blocks(page, (0, 0, 0))[1]
    heading = (page[:20, tile_left - 8 :] < 200).any((0, 2))
    words = np.split(np.nonzero(heading)[0], np.nonzero(np.diff(np.nonzero(heading)[0]) > 8)[0] + 1)
    assert len(words) >= 3


def test_strip_shows_first_and_last_and_a_sample_in_each_row():
    def frame(k):
        return torch.tensor([(k, 200, 20), (k, 20, 200)]).view(2, 3, 1, 1).expand(2, 3, 4, 4) / 255

    frames = [frame(k) for k in range(51)]
    page = _page(strip(frames, [1 - k / 50 for k in range(51)], columns=6))
    shown = [[_blocks(page, (k, *rest))[:2] for k in range(0, 51, 10)] for rest in ((200, 20), (20, 200))]
    for row in shown:
        assert len({place[0] for place in row}) == 1
        assert all(a[1] < b[1] for a, b in pairwise(row))
    assert shown[0][0][0] < shown[1][0][0]
    assert (_edge(page) == 255).all()


def test_a_path_is_written_as_png(tmp_path):
    picture = tiles(torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)), path=tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as written:
        assert written.format == "PNG"
        assert (_page(written) == _page(picture)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: tiles(torch.zeros(0, 1, 8, 8)),
        lambda: tiles(torch.zeros(4, 2, 8, 8)),
        lambda: tiles(torch.zeros(4, 1, 8, 8), columns=2, row_labels=["one"]),
        lambda: tiles(torch.zeros(4, 1, 8, 8), columns=0),
        lambda: strip([], []),
        lambda: strip([torch.zeros(1, 1, 8, 8)], [1.0, 0.0]),
    ],
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(UsageError):
        wrong()


def test_a_clear_background_is_transparent_without_a_margin():
    page = tiles(torch.zeros(4, 1, 8, 8), columns=2, transparent=True)
    assert page.mode == "RGBA"
    alpha = np.asarray(page)[..., 3]
    assert page.size == (2 * 48 + 4, 2 * 48 + 4)
    assert (alpha[:48, :48] == 255).all()
    assert (alpha[:, 48:52] == 0).all()


def test_images_stand_in_the_rows_of_their_class_with_its_name_beside_them():
    """7 images of three classes: rows of 3, white where a class has fewer, and the classes' own shades."""
    shades = torch.tensor([0.2, 0.4, 0.6, 0.2, 0.4, 0.6, 0.2])
    images = shades[:, None, None, None].expand(7, 1, 48, 48)
    page = np.asarray(by_class(images, torch.arange(7) % 3, ["a", "b", "c"]).convert("L")).astype(int)
    for row, (shade, count) in enumerate([(51, 3), (102, 2), (153, 2)]):
        line = page[12 + 24 + 52 * row]
        assert (line == shade).sum() == 48 * count
        assert (line[-12 - 40 : -12] == (255 if count == 2 else shade)).all()
    assert (page[:, :20] < 128).any()


def test_many_classes_stand_in_several_columns():
    images = torch.zeros(128, 1, 48, 48)
    page = by_class(images, torch.arange(128) % 40, [f"n{k}" for k in range(40)])
    assert 0.4 < page.width / page.height < 2.5


@pytest.mark.parametrize("count", range(1, 130))
def test_a_grid_of_any_number_of_images_leaves_little_empty(count):
    page = tiles(torch.zeros(count, 1, 48, 48))
    columns, rows = (page.width - 20) // 52, (page.height - 20) // 52
    assert 0 <= columns * rows - count <= max(1, count // 8)
    assert count <= 6 or 0.9 <= columns / rows <= 4.5


def test_long_and_hostile_names_are_cut_and_escaped():
    tile = torch.zeros(1, 1, 48, 48)
    assert tiles(tile, row_labels=["w" * 500]).width < 450
    for name in ("\x1b[31m", "\u202eevil", "$x$", "_hidden", ""):
        tiles(tile, row_labels=[name])


@pytest.mark.parametrize("off", [-0.4, 0.4])
def test_values_are_rounded_to_the_nearest_of_256_levels(off):
    levels = torch.arange(1.0, 255.0)
    page = _page(tiles(((levels + off) / 255).view(-1, 1, 1, 1)))
    assert set(page[..., 0].flatten().tolist()) == {*range(1, 255), 255}  # and the white of the page
