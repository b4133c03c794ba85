"""Those who watch a run are told what metrics.jsonl is told, and shown the pictures."""

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import unmelt as um
from unmelt.train import ObjectiveStep, Trainer, loggers, read_metrics


def fitted(folder, watch, steps=50):
    model = um.recipe.ring(width=8, depth=1, steps=steps, batch=8)
    model.training = replace(model.training, picture_every=25)
    return model.fit(folder, device="cpu", quiet=True, log_to=watch)


def test_tensorboard_has_the_numbers_of_the_metrics_file(tmp_path):
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


@pytest.mark.parametrize("service", ["wandb", "trackio"])
def test_wandb_and_trackio_receive_the_numbers_of_the_metrics_file(tmp_path, monkeypatch, service):
    """A library of their shape that keeps what it is told; a run that goes on is the same run there."""
    told, ended, begun = [], [], []

    def init(**known):
        begun.append(known)
        return types.SimpleNamespace(
            log=lambda values, step: told.append((step, values)), finish=lambda: ended.append(1)
        )

    library = types.ModuleType(service)
    library.init, library.Image = init, lambda path: path
    monkeypatch.setitem(sys.modules, service, library)
    fitted(tmp_path, service, steps=25)
    fitted(tmp_path, service)
    losses = [(step, values["loss"]) for step, values in told if "loss" in values]
    assert losses == [(line["step"], line["loss"]) for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert [values["samples"] for _, values in told if "samples" in values] == [
        str(tmp_path / "samples" / f"{step:06d}.png") for step in (25, 50)
    ]
    assert len(ended) == 2
    assert begun[0] == begun[1]
    assert (begun[0]["project"], begun[0]["resume"]) == ("unmelt", "allow")
    own = (tmp_path / "logger.id").read_text(encoding="utf-8")
    assert own == begun[0].get("id") or begun[0]["name"] == f"{tmp_path.name}-{own}"


def test_a_logger_that_is_unknown_or_not_installed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(um.UsageError, match=r"trackio is not installed.* Try: pip install trackio"):
        loggers("trackio", tmp_path)
    with pytest.raises(um.UsageError, match=r"log_to='tensorbord'.*Try: log_to='tensorboard'"):
        loggers("tensorbord", tmp_path)
    assert loggers("none", tmp_path) == []


@pytest.mark.parametrize("start", ["uninterrupted", "resumed"])
def test_held_out_loss_is_that_of_the_averaged_weights_at_every_preview(tmp_path, start):
    """The averaged weights' mean loss on the same few batches with the same noise, and only where pictures are made."""
    model = um.recipe.ring(width=8, depth=1, steps=60, batch=8)
    model.training = replace(model.training, picture_every=20, save_every=30)
    if start == "resumed":
        model.training = replace(model.training, steps=30)
        model.fit(tmp_path, device="cpu", quiet=True)
        model.training = replace(model.training, steps=60)
    model.fit(tmp_path, device="cpu", quiet=True, log_to="tensorboard")
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if "held_out" in line] == [20, 40, 60]
    assert len({line["held_out"] for line in lines if "held_out" in line}) == 3
    seen = Trainer(
        ObjectiveStep(model.denoiser, model.objective),
        model.source,
        model.codec,
        model.training,
        held_out=model.held_out,
    )
    seen.network.eval()
    assert seen.held_out_loss() == pytest.approx(lines[-1]["held_out"], rel=1e-6)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Scalars("training/held_out")[-1].value == pytest.approx(lines[-1]["held_out"], rel=1e-6)


def test_evaluating_held_out_data_leaves_training_bit_for_bit_the_same(tmp_path):
    weights = []
    for every in (0, 7):
        model = um.recipe.ring(width=8, depth=1, steps=30, batch=8)
        model.training = replace(model.training, picture_every=every)
        model.fit(tmp_path / str(every), device="cpu", quiet=True)
        weights.append(torch.cat([each.flatten() for each in model.denoiser.parameters()]))
    assert torch.equal(*weights)
