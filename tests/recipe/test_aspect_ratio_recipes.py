"""Recipes on pictures of several shapes: pixels and latents, resumed bit for bit, as before where all are squares."""

import pytest
import torch
from PIL import Image
from rectangles import SMALL, cache, draw_rectangles  # noqa: F401  the cache is used by every test

import unmelt as um
from unmelt.cli import main
from unmelt.data import AspectRatioBuckets
from unmelt.rng import Stream
from unmelt.train import Execution

PIXELS = {"size": 8, "width": 8, "blocks": 1, "batch": 4, "save_every": 2, "picture_every": 0, "held_out": 0.25}
DIT = {"size": 16, "width": 16, "depth": 1, "heads": 2, "batch": 4, "save_every": 2, "picture_every": 0}
SHAPES = ((16, 16), (36, 9), (9, 36), (16, 16))
"""Widths and heights in pixels."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders with pictures of three shapes and of one, and an autoencoder."""
    place = tmp_path_factory.mktemp("shapes")
    (place / "several").mkdir()
    (place / "squares").mkdir()
    draw_rectangles(place / "squares")
    for number in range(24):
        wide, high = SHAPES[number % len(SHAPES)]
        x = (255 * Stream(number).uniform((high, wide, 3))).byte().numpy()
        Image.fromarray(x).save(place / "several" / f"{number:02d}.png")
        (place / "several" / f"{number:02d}.txt").write_text("wide" if wide > high else "not wide", encoding="utf-8")
    um.recipe.autoencoder(folder=place / "squares", steps=4, **SMALL).fit(place / "codec", "cpu", quiet=True)
    return place


def pixels(place, folder="several", steps=4, **settings):
    return um.recipe.images(folder=place / folder, steps=steps, **{**PIXELS, **settings})


def latents(place, folder="several", steps=4, **settings):
    return um.recipe.latents(**{"folder": place / folder, "codec": place / "codec", "steps": steps, **DIT, **settings})


def weights(model):
    return torch.cat([each.flatten() for each in model.denoiser.state_dict().values()])


def test_a_model_of_pixels_learns_all_shapes_and_makes_each(place):
    model = pixels(place, caption="auto", caption_queries=2, aspect_ratio_buckets=True)
    assert "3 buckets of pixels: 8 x 8 (12), 16 x 4 (6), 4 x 16 (6)" in model.notes
    assert isinstance(model.source, AspectRatioBuckets)
    assert model.source.shape == (3, 8, 8)
    model.fit(None, "cpu", quiet=True)
    for size in ((8, 8), (4, 16), (16, 4)):
        assert model.sample(2, size=size, caption="wide", guidance=2.0, steps=2).shape == (2, 3, *size)
    assert model.evaluate(samples=20, steps=2)["frechet"] > 0


@pytest.mark.parametrize("make", [pixels, latents])
def test_an_interrupted_run_goes_on_bit_for_bit(place, tmp_path, make):
    whole = make(place, aspect_ratio_buckets=True).fit(None, "cpu", quiet=True)
    make(place, aspect_ratio_buckets=True, steps=2).fit(tmp_path / "run", "cpu", quiet=True)
    um.recipe.resumed(tmp_path / "run", steps=4).fit(tmp_path / "run", "cpu", quiet=True)
    assert torch.equal(weights(um.load(tmp_path / "run", "cpu")), weights(whole))


@pytest.mark.parametrize("make", [pixels, latents])
def test_where_all_pictures_are_square_buckets_change_nothing(place, make):
    plain, found = (make(place, "squares", aspect_ratio_buckets=each) for each in (False, True))
    assert found.source.identity() == plain.source.identity()
    assert torch.equal(weights(plain.fit(None, "cpu", quiet=True)), weights(found.fit(None, "cpu", quiet=True)))


def test_micro_batches_of_a_step_have_its_shape(place):
    one, other = (
        pixels(place, aspect_ratio_buckets=True).fit(None, "cpu", True, Execution(gradient_accumulation=n))
        for n in (1, 2)
    )
    torch.testing.assert_close(weights(one), weights(other), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("attention", ["cross", "joint"])
def test_latents_of_all_shapes_are_encoded_once_and_made(place, attention):
    model = latents(place, aspect_ratio_buckets=True, attention=attention)
    data = model.training_data(torch.device("cpu"))
    assert data.codec is None
    for plain, source in ((model.source, data.source), (model.held_out, data.held_out)):
        for step in range(6):
            x, z = plain.batch(step, 4)[0], source.batch(step, 4)[0]
            torch.testing.assert_close(z, model.encode(x) if x.shape[1:] == (3, 16, 16) else model.codec.encode(x))
    model.fit(None, "cpu", quiet=True)
    made = model.sample(2, size=(8, 32), steps=2)
    assert made.shape == (2, 3, 8, 32)
    assert model.outpaint(made[..., 8:24].repeat(1, 1, 2, 1), left=8, right=8, steps=1).shape == (2, 3, 16, 32)
    with pytest.raises(um.UsageError, match="multiple of 8"):
        model.sample(1, size=(12, 16))


def test_tokens_have_one_shape(place, tmp_path):
    um.recipe.autoencoder(folder=place / "squares", steps=2, latents="tokens", **SMALL).fit(
        tmp_path / "codec", "cpu", True
    )
    with pytest.raises(um.UsageError, match="latents that are tokens"):
        latents(place, codec=tmp_path / "codec", aspect_ratio_buckets=True)


def test_the_command_line_has_the_setting(place, tmp_path, capsys):
    command = ["train", "images", "--folder", str(place / "several"), "--out", str(tmp_path / "run"), "--device", "cpu"]
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in PIXELS.items()]
    assert main([*command, *settings, "--steps=1", "--aspect-ratio-buckets"]) == 0
    assert "3 buckets" in capsys.readouterr().err
    out = tmp_path / "made.npy"
    assert (
        main(["sample", str(tmp_path / "run"), "--rows", "1", "--size", "16x4", "--steps", "1", "--out", str(out)]) == 0
    )
    assert um.recipe.with_data(tmp_path / "run", "cpu").source.shape == (3, 8, 8)


def test_pictures_of_other_shapes_are_nothing_to_judge_by(place):
    model = pixels(place, aspect_ratio_buckets=True, steps=1)
    model.held_out = AspectRatioBuckets([each for each in model.held_out.buckets if each.shape != (3, 8, 8)])
    with pytest.raises(um.UsageError, match=r"none has the shape \(3, 8, 8\)"):
        model.evaluate(samples=20, steps=1)
