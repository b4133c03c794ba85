"""`unmelt adapter train | merge` and `unmelt sample --adapter`: what the Python API does with the same settings."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import refused, unmelt  # noqa: F401  # noqa: F401

import unmelt as um
from unmelt.cli.adapter import given_adapter


@pytest.fixture
def run(tmp_path):
    model = um.recipe.digits(width=4, steps=1, batch=4)
    with torch.no_grad():
        for weight in model.denoiser.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    model.save(tmp_path / "digits")
    return tmp_path / "digits"


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "drawn").mkdir()
    for number in range(6):
        values = np.random.default_rng(number).integers(0, 256, (10, 8), np.uint8)
        Image.fromarray(values).save(tmp_path / "drawn" / f"{number}.png")
    return tmp_path / "drawn"


@pytest.fixture
def style(run, tmp_path):
    """An adapter with a large change."""
    model = um.load(run, "cpu")
    for factor in model.add_adapter("style", um.adapter.LoRA(rank=2)).parameters():
        torch.nn.init.normal_(factor, std=0.3)
    model.save_adapter("style", tmp_path / "style")
    return tmp_path / "style"


def sampled(tmp_path, run, *words):
    assert (
        unmelt("sample", run, "--rows", "3", "--label", "1", "--steps", "3", "--out", tmp_path / "x.npy", *words) == 0
    )
    return torch.from_numpy(np.load(tmp_path / "x.npy"))


def wanted(run, style=None, scale=None):
    model = um.load(run, "cpu")
    if style is not None:
        model.load_adapter(style, scale=scale)
    return model.sample(3, label=1, steps=3, seed=0, adapter=None if style is None else "style")


def test_an_adapter_is_sampled_with_by_its_path_and_weight(run, style, tmp_path):
    whole = sampled(tmp_path, run, "--adapter", style)
    part = sampled(tmp_path, run, "--adapter", f"{style}:0.25")
    torch.testing.assert_close(whole, wanted(run, style))
    torch.testing.assert_close(part, wanted(run, style, 0.25))
    assert not torch.allclose(whole, part)
    assert not torch.allclose(whole, wanted(run))


def test_a_runs_own_adapter_is_sampled_with_by_its_name(run, style, tmp_path):
    model = um.load(run, "cpu")
    model.load_adapter(style)
    model.save(tmp_path / "both")
    for word, scale in (("style", None), ("style:0.5", 0.5)):
        found = sampled(tmp_path, tmp_path / "both", "--adapter", word)
        torch.testing.assert_close(found, wanted(run, style, scale), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("weight", ["", ":0.5"])
def test_a_merged_run_samples_as_with_the_adapter(run, style, tmp_path, weight):
    assert unmelt("adapter", "merge", run, f"{style}{weight}", "--out", tmp_path / "merged") == 0
    merged = um.load(tmp_path / "merged", "cpu")
    assert merged.adapters == {}
    torch.testing.assert_close(
        merged.sample(3, label=1, steps=3, seed=0),
        wanted(run, style, 0.5 if weight else None),
        atol=1e-4,
        rtol=1e-4,
    )


def test_an_adapter_learns_from_pictures_and_the_run_stays_as_it_is(run, pictures, tmp_path):
    words = ["adapter", "train", run, "--folder", pictures, "--out", tmp_path / "drawn-style", "--batch", "4"]
    words += ["--rank", "2", "--lr", "0.01"]
    before = wanted(run)
    assert unmelt(*words, "--steps", "3") == 0
    about = json.loads((tmp_path / "drawn-style" / "adapter.json").read_bytes())
    assert (about["name"], about["config"]["rank"], about["config"]["alpha"]) == ("drawn_style", 2, 4.0)
    assert torch.equal(wanted(run), before)
    short = sampled(tmp_path, run, "--adapter", tmp_path / "drawn-style")
    assert not torch.allclose(short, before)
    assert unmelt(*words, "--steps", "5") == 0  # the same command goes on
    model = um.load(run, "cpu")
    model.source, _ = um.data.images(pictures, 8, 1, 0, label="")
    again = um.load(tmp_path / "drawn-style" / "run", "cpu")
    assert (again.steps_done, again.active_adapter) == (5, "drawn_style")
    torch.testing.assert_close(
        sampled(tmp_path, run, "--adapter", tmp_path / "drawn-style"), again.sample(3, label=1, steps=3, seed=0)
    )


def test_an_adapter_learns_from_text(tmp_path, capsys):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.txt").write_text("The sea was wide and cold. " * 40, encoding="utf-8")
    lm = um.recipe.text(folder=tmp_path / "books", length=16, vocabulary=0, width=16, depth=1, heads=2, steps=1)
    lm.save(tmp_path / "lm")
    words = ["--folder", tmp_path / "books", "--out", tmp_path / "sea", "--steps", "2", "--batch", "2", "--rank", "2"]
    assert unmelt("adapter", "train", tmp_path / "lm", *words) == 0
    assert unmelt("sample", tmp_path / "lm", "--adapter", tmp_path / "sea", "--prompt", "The", "--steps", "4") == 0


def test_words_are_paths_and_weights():
    assert given_adapter("a/style:0.5") == ("a/style", 0.5)
    assert given_adapter("style:-1") == ("style", -1.0)
    assert given_adapter("C:\\style") == ("C:\\style", None)
    assert given_adapter("style") == ("style", None)
    assert given_adapter(":2") == (":2", None)


def test_mistakes_are_refused(refused, run, style, pictures, tmp_path):
    assert "unmelt adapter merge --help" in refused("adapter", "merg", run)
    assert "there is no adapter nowhere" in refused("sample", run, "--adapter", "nowhere:0.5")
    assert "which holds a run" in refused("adapter", "merge", run, style, "--out", run)
    assert "--folder VALUE" in refused("adapter", "train", run, "--out", tmp_path / "new")
    um.recipe.ring(width=8, depth=1, steps=1, batch=4).save(tmp_path / "ring")
    assert "a model of points" in refused(
        "adapter", "train", tmp_path / "ring", "--folder", pictures, "--out", tmp_path / "new"
    )
    assert not (tmp_path / "new").exists()
