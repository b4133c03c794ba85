"""Plots show what is there, keep off the edge of the page, and leave pyplot alone."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from unmelt.data import Ring, TwoModes
from unmelt.errors import UsageError
from unmelt.picture import Panel, curve, scatter
from unmelt.picture.curve import _smooth
from unmelt.picture.style import colours
from unmelt.rng import Stream

curve_module = sys.modules["unmelt.picture.curve"]


def _page(picture):
    return np.asarray(picture.convert("RGB")).astype(int)


def _edge_is_white(picture):
    page = _page(picture)
    return all((side == 255).all() for side in (page[:2], page[-2:], page[:, :2], page[:, -2:]))


def _share(picture, colour, tolerance=100):
    """The share of the page that is near this colour."""
    aim = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return float((np.abs(_page(picture) - aim).sum(2) < tolerance).mean())


@pytest.mark.parametrize("toy", [Ring(), TwoModes()])
@pytest.mark.parametrize("panels", [1, 2, 4])
def test_nothing_is_clipped_and_every_class_is_seen(toy, panels, tmp_path):
    x, labels = toy.sample(1000, Stream(0))
    names = [f"a longish title {k}" for k in range(panels)]
    picture = scatter([Panel(name, x, labels) for name in names], toy.classes, path=tmp_path / "a.png")
    assert _edge_is_white(picture)
    assert all(_share(picture, colour) > 1e-3 for colour in colours(len(toy.classes)))
    with Image.open(tmp_path / "a.png") as written:
        assert written.size == picture.size


def test_points_are_drawn_where_they_are():
    truth = torch.tensor([[-1.0, -1], [1, 1]])
    page = _page(scatter([Panel("", truth), Panel("", torch.tensor([[-0.5, 0.5]]))]))
    blue = np.abs(page - np.array([0x00, 0x72, 0xB2])).sum(2) < 250
    blue &= page[:, :, 2] > page[:, :, 0] + 40
    half = page.shape[1] // 2 + 15
    rows, columns = np.nonzero(blue[:, :half])
    low, high = columns < columns.mean(), columns > columns.mean()
    assert rows[low].mean() > rows[high].mean()  # (-1, -1) is below and to the left of (1, 1)
    row = np.nonzero(blue[:, half:])[0].mean()
    assert row == pytest.approx(rows[high].mean() + (rows[low].mean() - rows[high].mean()) / 4, abs=2)


def test_a_panel_of_outliers_leaves_the_other_panels_as_they_are():
    x, _ = Ring().sample(500, Stream(0))
    good = _page(scatter([Panel("data", x), Panel("sampler", x)]))
    bad = _page(scatter([Panel("data", x), Panel("sampler", 1e6 * x)]))
    half = good.shape[1] // 2
    assert (good[:, :half] == bad[:, :half]).all()
    assert (good[:, half:] != bad[:, half:]).any()
    broken = torch.full((500, 2), float("nan"))
    assert _edge_is_white(scatter([Panel("data", x), Panel("NaN", broken)]))


def test_smoothing_keeps_constants_and_averages_noise():
    x = np.arange(5000.0)
    noise = np.random.default_rng(0).standard_normal(5000)
    assert np.allclose(_smooth(x, np.full(5000, 3.0), x[::100]), 3.0)
    inside = _smooth(x, x + noise, x)[500:-500]
    assert np.abs(inside - x[500:-500]).max() < 0.5
    # Averaging with a Gaussian of width h divides the variance by 2 sqrt(pi) h.
    assert (inside - x[500:-500]).var() == pytest.approx(1 / (2 * np.sqrt(np.pi) * 50), rel=0.5)


def test_curves_take_one_value_gaps_zeros_and_huge_ranges():
    steps = np.arange(1, 3001)
    loss = 100 * steps**-1.5
    loss[100:110] = np.nan
    with_infinity = loss.copy()
    with_infinity[-1] = np.inf
    for lines in (
        {"training": ([0.0], [1.0])},
        {"training": (steps, loss), "held out": (steps[::300], 2 * loss[::300])},
        {"training": (steps, with_infinity)},
        {"training": (steps, loss - 0.1)},
        {"training": ([1, 2, 3], [0.0, 0.0, 0.0]), "nothing": ([], [])},
    ):
        assert _edge_is_white(curve(lines, title="a title"))


def test_many_classes_have_different_colours():
    for count in (1, 8, 9, 100):
        assert len(set(colours(count))) == count


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: curve({"training": ([1.0, 2.0], [1.0])}),
        lambda: curve({"training": ([1.0], [float("nan")])}),
        lambda: curve({}),
        lambda: scatter([]),
        lambda: scatter([Panel("", torch.zeros(3, 5))]),
        lambda: scatter([Panel("", torch.zeros(3, 1)), Panel("", torch.zeros(3, 2))]),
        lambda: scatter([Panel("", torch.zeros(0, 2))]),
    ],
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(UsageError):
        wrong()


def test_the_legend_is_below_the_axes_and_names_are_drawn_as_they_are(monkeypatch):
    """It covers no line there. Dollars are not mathematics, and an underscore does not hide a name."""
    drawn = []
    blank = Image.new("L", (1, 1))
    monkeypatch.setattr(curve_module, "finish", lambda figure, path: drawn.append(figure) or blank)
    curve_module.curve(
        {"$a$": ([0, 1], [1, 2]), "_b": ([0, 1], [2, 1]), "c\x1b": ([0, 1], [0, 0]), "d" * 99: ([0], [1])}
    )
    (figure,) = drawn
    figure.canvas.draw()
    (legend,), (axes,) = figure.legends, figure.axes
    assert [text.get_text() for text in legend.get_texts()] == [r"\$a\$", " _b", r"c\x1b", "d" * 47 + "…"]
    assert legend.get_window_extent().y1 < axes.get_window_extent().y0
