"""`unmelt edit`: pictures in files, and mistakes that leave nothing behind."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import refused, ring, unmelt  # noqa: F401

import unmelt as um

FEW = ("--steps", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained U-Net of colour images of 8 pixels."""
    folder = tmp_path_factory.mktemp("edit")
    (folder / "images").mkdir()
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    model = um.recipe.images(folder=folder / "images", size=8, width=8, blocks=1, steps=1, batch=2, picture_every=0)
    model.fit(folder / "run", device="cpu", quiet=True)
    return folder / "run"


@pytest.fixture
def files(tmp_path):
    """A picture of the model's size and a mask, a larger picture and its mask, and files that are no images."""
    draw = np.random.default_rng(0)
    Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "x.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 1:6] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(draw.integers(0, 256, (30, 40, 3), np.uint8)).save(tmp_path / "photo.jpg")
    Image.new("L", (40, 30), 255).save(tmp_path / "white.png")
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    (tmp_path / "empty.png").write_bytes(b"")
    return tmp_path


def pixels(path):
    return np.asarray(Image.open(path))


def test_an_inpainted_file_is_the_picture_wherever_the_mask_is_black(run, files):
    out = files / "made.png"
    assert unmelt("edit", run, files / "x.png", "--mask", files / "mask.png", "--out", out, *FEW) == 0
    new = pixels(files / "mask.png") > 0
    before, after = pixels(files / "x.png"), pixels(out)
    assert after.shape == (8, 8, 3)
    assert (after[~new] == before[~new]).all()
    assert (after[new] != before[new]).any()
    x = torch.from_numpy(before.copy()).permute(2, 0, 1)[None].float() / 255
    made = um.load(run, "cpu").inpaint(x, torch.from_numpy(new), steps=2)
    assert (after == (made[0] * 255).round().byte().permute(1, 2, 0).numpy()).all()


def test_several_versions_are_numbered_files_of_the_models_size(run, files, capsys):
    out = files / "made.png"
    assert unmelt("edit", run, files / "photo.jpg", "--rows", 3, "--out", out, *FEW) == 0
    assert "40 x 30 pixels, cropped and resized to 8 x 8" in capsys.readouterr().err
    made = [pixels(files / f"made-{row}.png") for row in range(3)]
    assert not out.exists()
    assert all(one.shape == (8, 8, 3) for one in made)
    assert (made[0] != made[1]).any()


def test_a_larger_canvas_holds_the_picture(run, files):
    out = files / "made.npy"
    assert unmelt("edit", run, files / "x.png", "--left", 2, "--bottom", 3, "--out", out, *FEW) == 0
    made = np.load(out)
    assert made.shape == (3, 11, 10)
    assert (np.round(made[:, :8, 2:] * 255) == pixels(files / "x.png").transpose(2, 0, 1)).all()


def test_the_default_place_is_in_the_run(run, files):
    assert unmelt("edit", run, files / "x.png", "--strength", 0.2, *FEW) == 0
    assert pixels(run / "edit.png").shape == (8, 8, 3)
    (run / "edit.png").unlink()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("no.png",), "no.png, which cannot be read"),
        (("text.png",), "not an image"),
        (("empty.png",), "empty.png, which cannot be read"),
        ((".",), "cannot be read"),
        (("x.png", "--mask", "no.png"), "no.png, which cannot be read"),
        (("x.png", "--mask", "text.png"), "not an image"),
        (("x.png", "--mask", "white.png"), "40 x 30 and 8 x 8 pixels"),
        (("x.png", "--mask", "mask.png", "--left", "2"), "--mask with --left"),
        (("x.png", "--strength", "0.5", "--top", "2"), "--strength with --top"),
        (("x.png", "--strength", "0"), "strength=0"),
        (("x.png", "--strength", "1.5"), "strength=1.5"),
        (("x.png", "--left", "-1"), "none below 0"),
        (("x.png", "--rows", "0"), "rows=0"),
        (("x.png", "--resamples", "-1", "--mask", "mask.png"), "resamples=-1"),
        (("x.png", "--label", "cat"), "without classes"),
        (("x.png", "--caption", "a cat"), "learned no captions"),
        (("x.png", "--out", "made.txt"), "ends in .png"),
        (("x.png", "--out", "x.png"), "which is read"),
        ((), "IMAGE"),
    ],
)
def test_mistakes_are_refused(run, files, refused, options, said):
    out = () if "--out" in options else ("--out", "new/made.png")
    assert said in refused("edit", run, *options, *out, *FEW)


def test_models_of_other_data_are_refused(ring, files, refused):
    assert "a model of images" in refused("edit", ring, "x.png")


@pytest.mark.parametrize("name", ["inpaint", "outpaint", "img2img", "variations"])
def test_other_names_of_the_command_lead_to_it(refused, name):
    assert "unmelt edit --help" in refused(name)
