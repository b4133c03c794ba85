"""A run is written apart from its data, and is not read as data where it stands among them."""

import os
from pathlib import Path

import pytest
from PIL import Image

import unmelt as um
from unmelt.cli import main
from unmelt.near_path import RUN

TEXT = {"length": 16, "vocabulary": 0, "width": 8, "depth": 1, "heads": 1, "steps": 2, "batch": 2}
IMAGES = {"size": 8, "width": 4, "blocks": 1, "steps": 2, "batch": 2}


def _text(top):
    folder = top / "data" / "books"
    folder.mkdir(parents=True)
    for k in range(8):
        (folder / f"{k}.txt").write_text(f"Story number {k} about the sea.", encoding="utf-8")
    return um.recipe.text(folder=folder, **TEXT), folder


def _images(top):
    folder = top / "data" / "pets"
    for k in range(8):
        path = folder / ("cat", "dog")[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (k, 30 * k, 9)).save(path)
    return um.recipe.images(folder=folder, **IMAGES), folder


@pytest.mark.parametrize("made", [_text, _images])
def test_a_run_is_not_begun_in_inside_of_or_above_its_data(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, data = made(tmp_path)
    before = sorted(data.rglob("*"))
    places = [data, data / "runs" / "1", data.parent, tmp_path]
    if hasattr(os, "mkfifo"):  # Windows may refuse links
        (tmp_path / "link").symlink_to(data)
        places += [tmp_path / "link", tmp_path / "link" / "new"]
    for out in places:
        with pytest.raises(um.UsageError, match="the folder of the data") as refused:
            model.fit(out, device="cpu", quiet=True)
        assert refused.value.instead == f"out='{Path('runs', data.name)}'" or out == tmp_path
        with pytest.raises(um.UsageError, match="the folder of the data"):
            model.save(out)
        corrected = eval(refused.value.instead.removeprefix("out="))
        um.run_place.check_apart(Path(corrected), model.origin)
    assert sorted(data.rglob("*")) == before
    model.fit(tmp_path / "runs", device="cpu", quiet=True)
    made_again = um.recipe.resumed(tmp_path / "runs", steps=3).fit(tmp_path / "runs", device="cpu", quiet=True)
    assert made_again.steps_done == 3


def test_the_command_line_refuses_it_before_the_data_are_read(tmp_path, monkeypatch, capsys):
    _, data = _images(tmp_path)
    monkeypatch.chdir(data.parent)
    monkeypatch.setattr(um.data, "images", None)
    assert main(["train", "images", "--folder", "pets", "--out", "pets"]) == 2
    assert f"--out {str(Path('runs', 'pets'))!r}" in capsys.readouterr().err
    assert not (data / "config.json").exists()


@pytest.mark.parametrize("made", [_text, _images])
def test_a_run_among_data_is_reported_and_is_no_data(made, tmp_path):
    model, data = made(tmp_path)
    run = data / "runs" / "old"
    (run / "samples").mkdir(parents=True)
    for name in RUN:
        (run / name).write_text("{}", encoding="utf-8")
    (run / "samples" / "9.txt").write_text("a sample of a model", encoding="utf-8")
    Image.new("RGB", (8, 8)).save(run / "samples" / "9.png")
    again = um.recipe.RECIPES[model.origin["recipe"]](**model.origin["settings"])
    assert "a run folder, which holds no data" in again.notes
    assert again.classes == model.classes
    assert len(again.source) == len(model.source)
    assert len(again.held_out) == len(model.held_out)
