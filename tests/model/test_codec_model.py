"""Autoencoders from training to use: they learn, resume bit for bit, come back from their folder and sample nothing."""

import json

import pytest
import torch
from rectangles import SMALL, draw_rectangles

import unmelt as um
from unmelt.cli import main
from unmelt.rng import Stream
from unmelt.train.step import ObjectiveStep


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_rectangles(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def fitted(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "codec"
    return um.recipe.autoencoder(folder=folder, steps=150, lr=3e-3, ema=0.9, **SMALL).fit(out, "cpu", quiet=True)


def weights(model):
    return {f"{name}.{key}": value for name, part in model.weights().items() for key, value in part.items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_it_learns_and_its_latents_are_centred_and_of_unit_size(fitted, folder):
    before = um.recipe.autoencoder(folder=folder, steps=60, **SMALL).evaluate()
    after = fitted.evaluate()
    assert after["psnr"] > before["psnr"] + 5
    assert after["frechet"] < 0.5 * before["frechet"]
    x = um.metric.collect_samples(fitted.source).x
    z = torch.cat([fitted.codec.encode(x, Stream(seed)) for seed in range(20)])
    assert z.mean((0, 2, 3)).abs().max() < 0.05
    assert (z.std((0, 2, 3)) - 1).abs().max() < 0.05


def test_it_comes_back_from_its_folder(fitted):
    again = um.load(fitted.folder, "cpu")
    assert isinstance(again, um.CodecModel)
    assert same(weights(again), weights(fitted))
    x = um.metric.collect_samples(fitted.held_out).x
    assert torch.equal(again.reconstruct(x), fitted.reconstruct(x))
    assert torch.equal(again.decode(again.encode(x)), again.reconstruct(x))
    assert "16" in repr(again)
    assert um.recipe.with_data(fitted.folder, "cpu").evaluate() == fitted.evaluate()


def test_an_interrupted_run_goes_on_bit_for_bit(folder, tmp_path, monkeypatch):
    whole = um.recipe.autoencoder(folder=folder, steps=9, **SMALL).fit(tmp_path / "whole", "cpu", quiet=True)
    took, loss = [], ObjectiveStep._loss

    def interrupted(self, batch, rng):
        took.append(batch.step)
        if len(took) == 6:
            raise RuntimeError("the machine stops")
        return loss(self, batch, rng)

    monkeypatch.setattr(ObjectiveStep, "_loss", interrupted)
    with pytest.raises(RuntimeError):
        um.recipe.autoencoder(folder=folder, steps=9, **SMALL).fit(tmp_path / "part", "cpu", quiet=True)
    part = um.recipe.resumed(tmp_path / "part").fit(tmp_path / "part", "cpu", quiet=True)
    assert took[6:] == [3, 4, 5, 6, 7, 8]
    assert same(weights(part), weights(whole))
    assert same(weights(um.load(tmp_path / "part", "cpu")), weights(whole))


def test_tokens_learn_and_come_back(folder, tmp_path):
    model = um.recipe.autoencoder(folder=folder, steps=60, lr=3e-3, ema=0.9, latents="tokens", levels=(4, 4), **SMALL)
    before = model.evaluate()
    after = model.fit(tmp_path / "run", "cpu", quiet=True).evaluate()
    assert after["psnr"] > before["psnr"] + 3
    assert 0 < after["used"] <= 1
    x = um.metric.collect_samples(model.held_out).x
    tokens = um.load(tmp_path / "run", "cpu").encode(x)
    assert tokens.dtype == torch.int64
    assert tokens.max() < 16


def test_perceptual_features_are_those_of_a_run_and_stay_with_the_autoencoder(folder, tmp_path):
    pixels = um.recipe.images(
        folder=folder, size=16, width=8, blocks=1, steps=2, batch=4, save_every=2, picture_every=0
    ).fit(tmp_path / "pixels", "cpu", quiet=True)
    settings = {"folder": folder, "steps": 3, "features": tmp_path / "pixels", **SMALL}
    made = um.recipe.autoencoder(**settings).fit(tmp_path / "run", "cpu", quiet=True)
    own = pixels.denoiser.state_dict()
    assert same({key.removeprefix("denoiser."): value for key, value in made.weights()["features"].items()}, own)
    again = um.recipe.with_data(tmp_path / "run", "cpu")
    assert again.evaluate()["perceptual"] == made.evaluate()["perceptual"] > 0
    assert same(weights(again), weights(made))
    with pytest.raises(um.UsageError, match="no model of the pixels"):
        um.recipe.autoencoder(**{**settings, "features": tmp_path / "run"})


def test_the_command_line_trains_scores_and_shows_it(folder, tmp_path, capsys):
    run = tmp_path / "run"
    sizes = ["--size", "16", "--widths", "8", "16", "--blocks", "1", "1", "--batch", "4", "--picture-every", "2"]
    command = ["train", "autoencoder", "--folder", str(folder), "--out", str(run), "--steps", "4", *sizes]
    assert main([*command, "--log-to", "none"]) == 0
    assert (run / "samples.png").is_file()
    assert list((run / "samples").glob("*.png"))
    capsys.readouterr()
    assert main(["eval", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] > 0
    assert main(["show", str(run)]) == 0
    assert "Autoencoder" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [["sample"], ["tune"], ["distill", "--method", "mean-flow", "--out", "x"], ["average", "--ema-std", "0.1"]],
)
def test_commands_that_sample_refuse_it(fitted, command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([command[0], str(fitted.folder), *command[1:]]) == 2
    said = capsys.readouterr().err
    assert "an autoencoder, which makes nothing from noise" in said
    assert "unmelt train latents" in said
    assert main(["eval", str(fitted.folder), "--steps", "5"]) == 2
    assert "reconstructions are scored without sampling" in capsys.readouterr().err


def test_what_it_cannot_do_without_data_is_said(fitted, folder):
    alone = um.load(fitted.folder, "cpu")
    for verb in (alone.evaluate, alone.picture, alone.fit):
        with pytest.raises(um.UsageError, match="autoencoder without"):
            verb()
    with pytest.raises(um.UsageError, match="multiples of 4"):
        um.recipe.autoencoder(folder=folder, steps=1, **{**SMALL, "size": 18})


def test_it_can_be_shared(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "shared", license="apache-2.0")
    again = um.from_pretrained(tmp_path / "shared", device="cpu")
    assert same(weights(again), weights(fitted))
    card = (tmp_path / "shared" / "README.md").read_text(encoding="utf-8")
    assert "autoencoder" in card
    assert "model.encode" in card
    assert str(tmp_path) not in card
