"""Runs of several networks: interrupted, killed, checkpoints, metrics and events."""

import signal

import pytest
import torch
from killing import struck
from safetensors.torch import load_file
from test_train_step import equal, newest, state, trainer, unchecked, whole  # noqa: F401
from torch import nn
from two_networks import STEPS, fitted, live, made

import unmelt as um
from unmelt.train import Event, ObjectiveStep, update_target
from unmelt.train.checkpoint import chain

# A run


def test_an_interrupted_run_of_several_networks_ends_as_the_uninterrupted_one(tmp_path, whole):
    model, step = made()
    batch = model.source.source.batch

    def heard(number, rows):
        if number == 22:
            signal.raise_signal(signal.SIGINT)
        return batch(number, rows)

    model.source.batch, model.folder = heard, tmp_path
    with pytest.raises(KeyboardInterrupt):
        um.model.fitting.fit(model, torch.device("cpu"), None, True, "none", step)
    assert um.load(tmp_path).steps_done == 23
    fitted(tmp_path)
    assert equal(newest(tmp_path), newest(whole))
    assert equal(*(load_file(folder / "model.safetensors") for folder in (tmp_path, whole)))


@pytest.mark.parametrize("lives", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_a_run_of_several_networks_that_is_killed_ends_as_if_it_had_not_been(tmp_path, whole, lives):
    """SIGKILL at random moments; weights, moments and target of every network come out bit for bit."""
    codes = struck(live, tmp_path, lives, min(0.4, 1.5 / lives), seed=lives)
    assert codes.count(-signal.SIGKILL) >= 0.8 * lives
    fitted(tmp_path)
    assert equal(newest(tmp_path), newest(whole))
    assert equal(*(load_file(folder / "model.safetensors") for folder in (tmp_path, whole)))


def test_the_checkpoint_names_the_first_network_as_ever_and_the_others_by_prefix(whole):
    names = newest(whole).keys()
    model, step = made()
    weights = {name for name in names if name.startswith("weights.")}
    assert weights == {f"weights.{name}" for name in model.denoiser.state_dict()}
    assert {n for n in names if n.startswith("networks.critic.weights.")} == {
        f"networks.critic.weights.{name}" for name in step.critic.state_dict()
    }
    assert {n.split(".")[1] for n in names if n.startswith("networks.")} == {"critic", "target"}
    assert any(name.startswith("networks.critic.optimizer.exp_avg.") for name in names)
    assert not any(name.startswith("networks.target.optimizer.") for name in names)


def test_a_checkpoint_without_the_critic_is_refused(tmp_path):
    model, step = made()
    run = trainer(model, ObjectiveStep(model.denoiser, model.objective))
    run.step()
    run.checkpoint.save(tmp_path, 1)
    with pytest.raises(um.UsageError, match=r"not a checkpoint .*networks\.critic"):
        trainer(model, step).checkpoint.load(tmp_path)
    other = trainer(model, step)
    other.step()
    other.checkpoint.save(tmp_path, 2)
    for path in chain(tmp_path)[1:]:
        path.unlink()
    with pytest.raises(um.UsageError, match=r"not a checkpoint .*networks\.critic"):
        trainer(model, ObjectiveStep(model.denoiser, model.objective)).checkpoint.load(tmp_path)


def test_metrics_tell_the_loss_of_every_network(whole):
    lines = um.train.read_metrics(whole / "metrics.jsonl")
    assert [line["step"] for line in lines] == [25, 50, STEPS]
    assert all(line.keys() >= {"loss", "loss/critic"} for line in lines)


def test_events_come_in_order_with_the_averaged_weights_in_place():
    model, step = made(steps=50, save_every=20)
    run = trainer(model, step, picture_every=25, snapshot_every=0)
    found = []
    for event in run.run():
        assert isinstance(event, Event)
        found.append((event.step, event.kind))
        current = next(step.denoiser.parameters()).detach()
        if event.kind in ("preview", "save"):
            raw = run.ema.average[0]  # exchanged
            assert not step.denoiser.training
            assert not torch.equal(current, raw)
            held = current.clone()
        else:
            assert step.denoiser.training
    assert found == [
        (20, "save"),
        (25, "log"),
        (25, "preview"),
        (40, "save"),
        (50, "log"),
        (50, "preview"),
        (50, "save"),
    ]
    assert torch.equal(next(step.denoiser.parameters()).detach(), held)
    assert not step.denoiser.training


def test_leaving_the_events_early_leaves_the_averaged_weights():
    model, step = made(steps=50, save_every=5)
    run = trainer(model, step, snapshot_every=0)
    handler = signal.getsignal(signal.SIGINT)
    events = run.run()
    assert next(events).kind == "save"
    held = next(step.denoiser.parameters()).detach().clone()
    assert signal.getsignal(signal.SIGINT) != handler
    events.close()
    assert torch.equal(next(step.denoiser.parameters()).detach(), held)
    assert signal.getsignal(signal.SIGINT) == handler


def test_update_target_copies_buffers_and_moves_weights():
    target, network = nn.BatchNorm1d(3).double(), nn.BatchNorm1d(3).double()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([1.0, 3.0, -2.0]))
        network.running_mean.copy_(torch.tensor([4.0, 5.0, 6.0]))
    update_target(target, network, 0.75)
    assert target.weight.tolist() == pytest.approx([1.0, 1.5, 0.25])
    assert torch.equal(target.running_mean, network.running_mean)
