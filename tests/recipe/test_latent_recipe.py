"""Latent diffusion by its recipes: images are encoded once, and every verb of a model works through the autoencoder."""

import pytest
import torch
from rectangles import SMALL, cache, draw_rectangles  # noqa: F401  the cache is used by every test

import unmelt as um
from unmelt.cli import main
from unmelt.data.encoded import Encoded
from unmelt.metric import collect_samples
from unmelt.model import latent_data

DIT = {"size": 16, "width": 16, "depth": 1, "heads": 2, "batch": 4, "save_every": 2, "picture_every": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images/, an autoencoder in codec/ and a model of its latents in run/."""
    place = tmp_path_factory.mktemp("latents")
    (place / "images").mkdir()
    draw_rectangles(place / "images")
    um.recipe.autoencoder(folder=place / "images", steps=20, **SMALL).fit(place / "codec", "cpu", quiet=True)
    made(place).fit(place / "run", "cpu", quiet=True)
    return place


def made(place, **settings):
    return um.recipe.latents(**{"folder": place / "images", "codec": place / "codec", "steps": 4, **DIT, **settings})


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_training_reads_latents_that_were_encoded_once_and_learns_what_it_learns_from_images(place, monkeypatch):
    model = made(place)
    source, held_out, codec = model.training_data(torch.device("cpu"))
    assert isinstance(source, Encoded)
    assert isinstance(held_out, Encoded)
    assert codec is None
    x = collect_samples(model.source).x
    assert torch.equal(source.latents, model.codec.encode(x))
    cached = model.fit(None, "cpu", quiet=True)
    monkeypatch.setattr(latent_data, "encoded", None)
    monkeypatch.setattr(latent_data, "Arrays", ())
    plain = made(place).fit(None, "cpu", quiet=True)
    for key, value in plain.denoiser.state_dict().items():
        assert torch.allclose(cached.denoiser.state_dict()[key], value, atol=1e-5), key


def test_every_verb_works_through_the_autoencoder(place):
    model = um.load(place / "run", "cpu")
    codec = um.load(place / "codec", "cpu").codec
    assert same(model.codec.state_dict(), codec.state_dict())
    x = model.sample(3, steps=4, seed=0)
    assert x.shape == (3, 3, 16, 16)
    assert x.min() >= 0
    assert x.max() <= 1
    assert torch.equal(model.sample(2, steps=4, seed=0), x[:2])
    assert model.edit(x, strength=0.3, steps=4, seed=0).shape == x.shape
    assert [frame.x.shape for frame in model.trajectory(2, steps=2, seed=0)] == [(2, 3, 16, 16)] * 3
    with pytest.raises(um.UsageError, match="space="):
        model.log_likelihood(x)
    assert model.log_likelihood(x, space="latent", probes=2).value.isfinite().all()
    judged = um.recipe.with_data(place / "run", "cpu").evaluate(samples=20, steps=4)
    assert judged["frechet_detail"] > 0
    student = um.recipe.with_data(place / "run", "cpu").distill(
        um.distill.Consistency(), steps=1, training_steps=2, quiet=True, device="cpu"
    )
    assert student.sample(2, seed=0).shape == (2, 3, 16, 16)


def test_joint_attention_is_a_setting(place):
    model = made(place, attention="joint", steps=1).fit(None, "cpu", quiet=True)
    assert isinstance(model.denoiser.backbone, um.backbone.JointDiT)
    assert model.sample(1, steps=2, seed=0).shape == (1, 3, 16, 16)


def test_an_interrupted_run_goes_on_bit_for_bit(place, tmp_path):
    made(place, steps=2).fit(tmp_path / "run", "cpu", quiet=True)
    um.recipe.resumed(tmp_path / "run", steps=4).fit(tmp_path / "run", "cpu", quiet=True)
    whole = um.load(place / "run", "cpu").denoiser.state_dict()
    assert same(um.load(tmp_path / "run", "cpu").denoiser.state_dict(), whole)


def test_what_is_no_finished_autoencoder_is_refused(place, tmp_path, capsys):
    with pytest.raises(um.UsageError, match="which holds no autoencoder"):
        made(place, codec=place / "run")
    unfinished = um.recipe.autoencoder(folder=place / "images", steps=5, **SMALL)
    unfinished.save(tmp_path / "unfinished")
    with pytest.raises(um.UsageError, match="0 of 5 training steps"):
        made(place, codec=tmp_path / "unfinished")
    command = ["train", "latents", "--folder", str(place / "images"), "--out", str(tmp_path / "new")]
    assert main([*command, "--codec", str(tmp_path / "nowhere")]) == 2
    assert "there is no run" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
