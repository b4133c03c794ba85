"""Every recipe: described, refused where wrong, and `images` and `text` from a real folder to samples."""

import importlib
import inspect
import json
import shutil

import numpy as np
import pytest
import torch
from chorale_pieces import random_pieces
from PIL import Image

import unmelt as um
from unmelt.cli import main
from unmelt.recipe import RECIPES
from unmelt.train import read_metrics

TINY = {"size": 8, "width": 4, "blocks": 1, "steps": 6, "batch": 4, "precision": "float32", "picture_every": 0}


def photograph(path, mode="RGB", size=(12, 9), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def pets(tmp_path):
    """Two classes, mixed sizes and modes, one broken file."""
    for k in range(12):
        mode = ("RGB", "L", "RGBA", "P")[k % 4]
        photograph(tmp_path / "pets" / ("cat", "dog")[k % 2] / f"{k}.png", mode, (8 + k, 20 - k), k)
    (tmp_path / "pets/cat/broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    return tmp_path / "pets"


@pytest.fixture(autouse=True)
def few_chorales(monkeypatch):
    """Pieces made here: reading the scores of the corpus takes minutes."""
    monkeypatch.setattr(importlib.import_module("unmelt.recipe.chorales"), "all_chorales", lambda: random_pieces(60))


OWN = (
    *("images", "control", "text", "autoencoder", "latents", "drafter"),
    *("vocoder", "speech", "policy", "world", "video"),
)
"""Recipes for your own files."""

READY = [name for name in RECIPES if name not in OWN]


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_is_documented(name):
    recipe = RECIPES[name]
    text = inspect.getdoc(recipe)
    for setting in inspect.signature(recipe).parameters.values():
        assert setting.kind is setting.KEYWORD_ONLY
        assert f"\n    {setting.name}: " in text
    assert recipe.__name__ == name


@pytest.mark.parametrize("name", READY)
def test_a_recipe_records_its_name_and_settings_in_the_model(name):
    model = RECIPES[name](steps=7, seed=3)
    assert model.origin["recipe"] == name
    assert model.origin["settings"]["steps"] == 7
    assert set(model.origin["settings"]) == set(inspect.signature(RECIPES[name]).parameters)
    again = RECIPES[name](**model.origin["settings"])
    assert again.describe() == json.loads(json.dumps(model.describe())) == model.describe()
    weights = zip(model.denoiser.parameters(), again.denoiser.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)
    x, _ = model.source.batch(0, 4)
    assert torch.equal(x, again.source.batch(0, 4)[0])
    if model.held_out is not None:
        assert not torch.equal(x, model.held_out.batch(0, 4)[0])


@pytest.mark.parametrize("name", READY)
def test_a_recipe_trains_a_few_steps_and_is_evaluated(name, tmp_path):
    text = isinstance(RECIPES[name](), um.TextModel)
    given = {"width": 40 if text else 8, "steps": 2, "batch": 4}
    model = RECIPES[name](**given).fit(tmp_path, device="cpu", quiet=True)
    made = um.load(tmp_path).sample(2, steps=2)
    if text:
        assert [type(each) for each in made] == [str, str]
        assert main(["eval", str(tmp_path), "--samples", "2"]) == 0
        return
    assert made.shape == (2, *model.source.shape)
    if name not in ("digits", "scenes"):  # the judge takes seconds, and so do thousands of painted pictures
        assert main(["eval", str(tmp_path), "--steps", "2"]) == 0


def test_unknown_settings_are_refused():
    with pytest.raises(um.UsageError, match=r"ring has no argument 'stepz'; one of modes, .*ring\(steps=...\)"):
        um.recipe.ring(stepz=3)
    with pytest.raises(um.UsageError, match="arguments without names"):
        um.recipe.ring(3)
    with pytest.raises(um.UsageError, match="images was not given its folder"):
        um.recipe.images(size=8)


# Images


def test_images_from_a_folder_train_sample_and_load(pets, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    model = um.recipe.images(folder=str(pets), held_out=0.34, **TINY)
    for words in ("12 images used", "cat 6, dog 6", "1 file could not be read", "broken.jpg"):
        assert words in model.notes
    assert (len(model.source), len(model.held_out)) == (8, 4)
    model.fit(out, device="cpu", quiet=True)
    for name in ("config.json", "model.safetensors", "checkpoints", "loss.png"):
        assert (out / name).exists()

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # the recorded folder is absolute
    assert main(["eval", str(out), "--samples", "8", "--steps", "2", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["samples"] == 8
    assert 0 <= scores["classifier_accuracy"] <= 1
    assert scores["nearest_train"] > 0

    before = model.sample(3, label="dog", guidance=2.0, steps=2)
    shutil.move(pets, tmp_path / "gone")
    again = um.load(out, device="cpu")
    assert again.classes == ("cat", "dog")
    assert again.notes == model.notes
    x = again.sample(3, label="dog", guidance=2.0, steps=2)
    assert torch.equal(x, before)
    assert x.shape == (3, 3, 8, 8)
    assert 0 <= x.min() <= x.max() <= 1
    assert main(["sample", str(out), "--rows", "4", "--steps", "2"]) == 0
    assert main(["show", str(out)]) == 0
    assert "broken.jpg" in capsys.readouterr().out
    assert main(["eval", str(out)]) == 2
    assert f"there is no {pets}" in capsys.readouterr().err


def test_images_on_the_command_line(pets, tmp_path, capsys):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items() if name != "picture_every"]
    command = ["train", "images", f"--folder={pets}", f"--out={tmp_path / 'run'}", "--picture-every=4", *options]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert not out
    assert "broken.jpg" in err
    assert (tmp_path / "run/samples/000004.png").is_file()
    assert (tmp_path / "run/samples.png").is_file()
    assert main([*command, "--steps=9"]) == 0
    assert read_metrics(tmp_path / "run/metrics.jsonl")[-1]["step"] == 9


def test_a_relative_folder_is_the_same_run(pets, tmp_path, monkeypatch):
    um.recipe.images(folder=str(pets), **TINY).fit(tmp_path / "run", device="cpu", quiet=True)
    monkeypatch.chdir(pets.parent)
    um.recipe.images(folder="pets", **{**TINY, "steps": 7}).fit(tmp_path / "run", device="cpu", quiet=True)
    shutil.copytree(pets, tmp_path / "moved")
    moved = um.recipe.images(folder=tmp_path / "moved", **{**TINY, "steps": 8})
    moved.fit(tmp_path / "run", device="cpu", quiet=True)
    assert moved.steps_done == 8  # the same images in another place
    photograph(next((tmp_path / "moved").iterdir()) / "new.png", seed=99)
    with pytest.raises(um.UsageError, match="allow_other_data"):
        um.recipe.images(folder=tmp_path / "moved", **{**TINY, "steps": 9}).fit(tmp_path / "run", quiet=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_without_classes(tmp_path, channels):
    for k in range(6):
        photograph(tmp_path / "faces" / f"{k}.png", seed=k)
    given = {**TINY, "channels": channels, "held_out": 0.4}
    model = um.recipe.images(folder=tmp_path / "faces", **given).fit(tmp_path / "run", device="cpu", quiet=True)
    assert model.classes == ()
    again = um.load(tmp_path / "run")
    assert again.sample(2, steps=2).shape == (2, channels, 8, 8)
    with pytest.raises(um.UsageError, match="without classes"):
        again.sample(2, label=0)
    scores = model.evaluate(samples=64, steps=2)
    assert "classifier_accuracy" not in scores
    assert np.isfinite(scores["frechet"])
    again.picture(steps=2)


def test_a_single_image_cannot_be_split(tmp_path):
    photograph(tmp_path / "few" / "0.png", seed=0)
    with pytest.raises(um.UsageError, match=r"held_out=0.1.* of 1 items leaves one side empty; .*another item"):
        um.recipe.images(folder=tmp_path / "few", **{**TINY, "held_out": 0.1})
    photograph(tmp_path / "few" / "1.png", seed=1)
    two = um.recipe.images(folder=tmp_path / "few", **{**TINY, "held_out": 0.1})
    assert (len(two.source), len(two.held_out)) == (1, 1)


def test_too_few_images_to_evaluate_are_reported(tmp_path, capsys):
    for k in range(5):
        photograph(tmp_path / "few" / f"{k}.png", seed=k)
    um.recipe.images(folder=tmp_path / "few", **{**TINY, "held_out": 0.2}).fit(tmp_path / "run", quiet=True)
    assert main(["eval", str(tmp_path / "run"), "--steps", "2"]) == 2
    assert "at least 2 of each" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 6}, "width=6"),
        ({"size": 0}, "size=0"),
        ({"blocks": 0}, "blocks=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"held_out": 0.0}, "held_out=0.0"),
        ({"held_out": float("nan")}, "held_out=nan"),
        ({"drop": 2.0}, "drop=2.0"),
    ],
    ids=str,
)
def test_impossible_settings_of_images_are_refused(pets, wrong, message):
    with pytest.raises(um.UsageError, match=message):
        um.recipe.images(folder=pets, **{**TINY, "held_out": 0.34, **wrong})


@pytest.mark.parametrize("size", [4, 6, 7, 13])
def test_images_of_any_size(pets, size):
    model = um.recipe.images(folder=pets, **{**TINY, "held_out": 0.34, "size": size, "steps": 1})
    assert model.fit(device="cpu", quiet=True).sample(1, steps=2).shape == (1, 3, size, size)


def test_text_from_a_folder_trains_saves_and_samples(tmp_path, capsys):
    folder, out = tmp_path / "notes", tmp_path / "run"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.txt").write_text(f"Note {number}: the sea is wide. " * 20, encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG\xff")
    small = ["--width", "16", "--depth", "1", "--length", "24", "--vocabulary", "0", "--steps", "3", "--batch", "4"]
    assert main(["train", "text", "--folder", str(folder), "--out", str(out), *small]) == 0
    assert "6 documents" in capsys.readouterr().err
    assert main(["sample", str(out), "--prompt", "Note", "--suffix", "wide.", "--steps", "4"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("Note")
    assert output.rstrip("\n").endswith("wide.")
    (tmp_path / "gap.txt").write_text("Note 1: the <gap> is wide. " + "And so on. " * 9, encoding="utf-8")
    assert main(["infill", str(out), str(tmp_path / "gap.txt"), "--tokens", "3"]) == 0
    filled = capsys.readouterr().out
    assert "<gap>" not in filled
    assert filled.startswith("Note 1: the ")
    assert filled.rstrip("\n").endswith("And so on. ")
    assert (
        main(["sample", str(out), "--rows", "2", "--live", "--threshold", "0.5", "--out", str(tmp_path / "a.txt")]) == 0
    )
    assert "-" * 80 in (tmp_path / "a.txt").read_text(encoding="utf-8")
    assert main(["eval", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_byte"] > 0

    def refused(*args):
        code = main([str(arg) for arg in args])
        output = capsys.readouterr()
        assert code == 2
        assert not output.out
        return output.err

    assert "a prompt of 25" in refused("sample", out, "--prompt", "x" * 25)
    assert "steps=0" in refused("sample", out, "--steps", "0")
    assert "a model without classes" in refused("sample", out, "--label", "3")
    assert "text without '<gap>'" in refused("infill", out, folder / "0.txt")
    assert "not text" in refused("infill", out, folder / "picture.png")
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    assert "empty" in refused("infill", out, tmp_path / "empty.txt")
    assert "No such file" in refused("infill", out, tmp_path / "none.txt")
    assert "ends in .txt" in refused("sample", out, "--out", tmp_path / "a.png")
    assert "a model of text" in refused("tune", out)
    assert "a model of text" in refused("curve", out)
    assert "there is no" in refused("train", "text", "--folder", tmp_path / "nowhere", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert "no text in" in refused("train", "text", "--folder", folder / "picture.png", "--out", tmp_path / "new")
