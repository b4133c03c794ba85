"""A model says what it is in one line, and a notebook shows a picture of it."""

import io

import pytest
import torch
from PIL import Image
from systems.parts import sound_model, video_model

import unmelt as um


@pytest.fixture(scope="module")
def ring():
    return um.recipe.ring(width=8, depth=1, modes=3, steps=4, batch=16).fit(device="cpu", quiet=True)


def test_repr_is_one_short_line(ring):
    said = repr(ring)
    assert said == "Model(recipe ring, points of shape 2, 3 classes, 1,026 parameters, 4 training steps)"
    for model in (sound_model(), video_model(), um.recipe.sudoku(width=16, depth=1, heads=2)):
        assert "\n" not in repr(model)
        assert len(repr(model)) <= 120


@pytest.mark.parametrize("make", [sound_model, video_model])
def test_a_notebook_shows_a_picture(make):
    with Image.open(io.BytesIO(make()._repr_png_())) as image:
        assert min(image.size) > 20


def test_a_notebook_shows_points_and_text(ring):
    with Image.open(io.BytesIO(ring._repr_png_())) as image:
        assert min(image.size) > 100
    lm = um.recipe.sudoku(width=16, depth=1, heads=2)
    assert lm._repr_html_() == f"<pre>{lm.sample(1)[0]}</pre>"


def test_a_model_moves_between_devices(ring):
    assert ring.to("cpu") is ring
    assert ring.device == torch.device("cpu")
    with pytest.raises(um.UsageError, match="device 'tpu'"):
        ring.to("tpu")


def test_help_says_what_every_argument_is():
    for each in (um.sample, um.trajectory, um.Model.sample, um.TextModel.sample, um.Model.fit, um.load):
        text = each.__doc__
        assert "Args:" in text
        assert "Returns:" in text or "Yields:" in text
