"""How a run is computed does not change what it learns."""

import pytest
import torch
from jaxtyping import config
from torch import nn

import unmelt as um
from unmelt.objective import Stratified, Uniform
from unmelt.rng import Part, Stream
from unmelt.train import Execution, ObjectiveStep, Trainer, Training, lr_schedule
from unmelt.train.execution import blocks


def trainer(execution=None, batch=12, kind="unet", dropout=0.0):
    source = um.data.Arrays(
        torch.rand(37, 1, 4, 4, generator=torch.Generator().manual_seed(0)), [k % 3 for k in range(37)]
    )
    with um.rng.seeded(1):
        if kind == "unet":
            body: nn.Module = um.backbone.UNet(
                channels=1, width=4, multipliers=(1, 2), blocks=1, attention=(False, True), classes=3, dropout=dropout
            )
        else:
            body = um.backbone.DiT(channels=1, size=(4, 4), width=16, depth=2, heads=2, classes=3)
    process = um.process.Gaussian(um.schedule.Cosine())
    denoiser = um.denoiser.NetworkDenoiser(body, process, um.prediction.V(), (1, 4, 4), data_sd=0.5).double()
    training = Training(
        steps=20, batch=batch, lr=3e-3, lr_schedule=lr_schedule.Cosine(warmup=3), ema=0.9, precision="float32"
    )
    codec = Doubled(um.codec.Affine.images())
    return Trainer(
        ObjectiveStep(denoiser, um.objective.Regression(drop=0.2)), source, codec, training, execution=execution
    )


class Doubled:
    """In float64, so that equal means equal to rounding."""

    def __init__(self, codec):
        self.codec = codec

    def encode(self, x, rng=None):
        return self.codec.encode(x).double()

    def decode(self, z):
        return self.codec.decode(z)

    def latent_shape(self, shape):
        return tuple(shape)


def ended(run, steps=8):
    losses = [run.step().item() for _ in range(steps)]
    return losses, torch.cat([p.detach().flatten() for p in run.learners[0].parameters])


def test_gradient_accumulation_equals_the_whole_batch():
    losses, weights = ended(trainer())
    for count in (2, 3, 12):
        found, moved = ended(trainer(Execution(gradient_accumulation=count)))
        assert found == pytest.approx(losses, rel=1e-6)  # the loss is summed in float32
        torch.testing.assert_close(moved, weights, rtol=0, atol=1e-8)


def test_parts_of_a_stream_draw_the_rows_of_the_whole():
    whole, parts = Stream(5), [Part(Stream(5), k, 3) for k in range(3)]
    for draw in ("normal", "uniform"):
        wanted = getattr(whole, draw)((6, 2), torch.float64)
        assert torch.equal(wanted, torch.cat([getattr(part, draw)((2, 2), torch.float64) for part in parts]))
    times = Stratified(Uniform())
    wanted = times.draw(6, um.schedule.Cosine(), Stream(7))
    found = [times.draw(2, um.schedule.Cosine(), Part(Stream(7), k, 3)) for k in range(3)]
    assert torch.equal(wanted, torch.cat(found))


@pytest.mark.parametrize(("kind", "dropout"), [("unet", 0.0), ("unet", 0.3), ("dit", 0.0)])
def test_activation_checkpointing_gives_the_same_weights(kind, dropout):
    losses, weights = ended(trainer(kind=kind, dropout=dropout))
    run = trainer(Execution(activation_checkpointing=True), kind=kind, dropout=dropout)
    names = list(run.network.state_dict())
    with run.execution.prepared(run.network):
        found, moved = ended(run)
        assert list(run.network.state_dict()) == names
    assert found == losses
    assert torch.equal(moved, weights)
    assert all("forward" not in vars(block) for block in blocks(run.network))


def test_activation_checkpointing_saves_fewer_activations():
    """Numbers saved for the gradient, counted: with recomputation, far fewer."""

    def saved(execution):
        run, kept = trainer(execution, kind="dit"), 0

        def count(tensor):
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with run.execution.prepared(run.network), torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
            run.loss(0)
        return kept

    assert saved(Execution(activation_checkpointing=True)) < 0.6 * saved(Execution())


def test_blocks_are_the_members_of_module_lists():
    assert [type(block).__name__ for block in blocks(trainer(kind="dit").network)] == ["Block"] * 2
    assert len(blocks(trainer().network)) == 4


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_losses_and_weights(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as people run it: checks of shapes are not to be compiled
    losses, weights = ended(trainer())
    run = trainer(Execution(compile=True))
    with run.execution.prepared(run.network):
        found, moved = ended(run)
    assert found == pytest.approx(losses, rel=1e-6)
    torch.testing.assert_close(moved, weights, rtol=0, atol=1e-8)
    assert run.network.backbone._compiled_call_impl is None


def test_a_batch_that_cannot_be_divided_evenly_is_refused():
    with pytest.raises(um.UsageError, match=r"batch=12 in 5 parts.*batch=10"):
        trainer(Execution(gradient_accumulation=5))
    with pytest.raises(um.UsageError, match="gradient_accumulation"):
        Execution(gradient_accumulation=0)


def test_the_prefetcher_asks_only_for_batches_that_are_used(monkeypatch):
    monkeypatch.setattr("unmelt.train.distributed.world_size", lambda: 2)
    monkeypatch.setattr("unmelt.train.distributed.rank", lambda: 1)
    run = trainer(Execution(gradient_accumulation=3))
    wanted = [step * 6 + part for step in range(4) for part in (3, 4, 5)]
    followed = [wanted[0]]
    while len(followed) < len(wanted):
        followed.append(run._after(followed[-1]))
    assert followed == wanted
