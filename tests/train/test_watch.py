"""Those who watch a run are told what metrics.jsonl is told, and shown the pictures."""

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import unmelt as um
from unmelt.train import read_metrics, watches


def fitted(folder, watch):
    model = um.recipe.ring(width=8, depth=1, steps=50, batch=8)
    model.training = replace(model.training, picture_every=25)
    return model.fit(folder, device="cpu", quiet=True, watch=watch)


def test_tensorboard_reads_what_metrics_says(tmp_path):
    fitted(tmp_path, "tensorboard")
    lines = read_metrics(tmp_path / "metrics.jsonl")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for name in ("loss", "lr", "rows_per_second", "memory"):
        found = events.Scalars(f"training/{name}")
        assert [event.step for event in found] == [25, 50]
        np.testing.assert_allclose([event.value for event in found], [line[name] for line in lines], rtol=1e-6)
    pictures = events.Images("samples")
    assert [event.step for event in pictures] == [25, 50]
    assert pictures[0].width > 100


def test_a_service_is_told_by_its_own_interface(tmp_path, monkeypatch):
    """A library of wandb's shape, which trackio's is too, that keeps what it is told."""
    told, ended = [], []
    run = types.SimpleNamespace(log=lambda values, step: told.append((step, values)), finish=lambda: ended.append(1))
    library = types.ModuleType("trackio")
    library.init, library.Image = lambda project, name: run, lambda path: path
    monkeypatch.setitem(sys.modules, "trackio", library)
    fitted(tmp_path, "trackio")
    losses = [(step, values["loss"]) for step, values in told if "loss" in values]
    assert losses == [(line["step"], line["loss"]) for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert [values["samples"] for _, values in told if "samples" in values] == [
        str(tmp_path / "samples" / f"{step:06d}.png") for step in (25, 50)
    ]
    assert ended == [1]


def test_who_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(um.UsageError, match=r"trackio is not installed.* Try: pip install trackio"):
        watches("trackio", tmp_path)
    with pytest.raises(um.UsageError, match=r"watch='tensorbord'.*Try: watch='tensorboard'"):
        watches("tensorbord", tmp_path)
    assert watches("none", tmp_path) == []
