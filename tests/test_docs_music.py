"""The Python of docs/music.md runs as written, on pieces made here, by a small model."""

import importlib

import doc_pages
import pytest
import torch
from chorale_pieces import random_pieces

import unmelt as um
from unmelt.data.chorale_grid import UNKNOWN
from unmelt.data.wav import read_sound


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch):
    pytest.importorskip("music21")
    monkeypatch.chdir(tmp_path)
    pieces = random_pieces(20)
    monkeypatch.setattr(importlib.import_module("unmelt.recipe.chorales"), "all_chorales", lambda: pieces)
    monkeypatch.setattr(um.data, "chorales", lambda: pieces)
    small = {"steps": 2, "batch": 2, "quarters": 8, "width": 16, "depth": 1, "heads": 2, "picture_every": 0}
    doc_pages.shorten(monkeypatch, um.recipe, "chorales", **small)
    names = doc_pages.run_page("music")
    asked, whole = names["grid"], names["whole"]
    assert (asked[:, 1:] == UNKNOWN).all()
    assert torch.equal(whole[:, 0], asked[:, 0])
    assert (whole != UNKNOWN).all()
    assert (tmp_path / "harmonised.mid").read_bytes()[:4] == b"MThd"
    sounds = sorted(tmp_path.glob("chorale*.wav"))
    assert len(sounds) == 2
    assert all(read_sound(sound).samples.shape[-1] > 0 for sound in sounds)
