"""A new kind of guidance, of discrete sampler or of condition is one file: nothing of unmelt changes for it.

A codec, a modality and a training step of one's own are in `parts.py`.
"""

import dataclasses
from dataclasses import dataclass
from typing import final

import pytest
import torch
from conformance.subjects import full
from guidance.kinds import batch, classes
from systems.parts import process
from torch import nn
from truth.enumeration import far, sampled

import unmelt as um
from unmelt import config
from unmelt.guidance.cfg import null_belief
from unmelt.sampler import Sampler, State

# Guidance


class Halfway(um.guidance.Guidance):
    """Away from the mean of the null belief and the belief: half of classifier-free guidance."""

    def worse_than(self, belief, x_t, t, condition):
        return null_belief(self.denoiser, belief, x_t, t, condition).lerp(belief, 0.5)


def test_a_guidance_of_ones_own_is_half_of_classifier_free_guidance():
    x, t, condition = batch(5)
    model = classes(um.schedule.Cosine())
    found = Halfway(model, 3.0)(x, t, condition).mean
    torch.testing.assert_close(found, um.guidance.CFG(model, 2.0)(x, t, condition).mean, rtol=1e-12, atol=1e-12)
    scales = um.Condition(label=condition.label, guidance_scale=full(5, 3.0))
    torch.testing.assert_close(Halfway(model, 1.0)(x, t, scales).mean, found, rtol=1e-12, atol=1e-12)


# A discrete sampler


@final
@dataclass(frozen=True)
class LastFirst(Sampler):
    """Unmasks the last masked token of a row in every step; its steps are as many as the row is long."""

    def init(self, denoiser, x, t, rng, condition=None):
        return State.start(x, t, rng, condition)

    def step(self, denoiser, state, s):
        masked = denoiser.process.masked(state.x)
        places = torch.arange(state.x.shape[1])
        last = masked & (places == torch.where(masked, places, -1).amax(1, keepdim=True))
        belief = denoiser(state.x, state.t, state.condition)
        u = state.rng.uniform(state.x.shape, torch.float64)
        return state.moved(belief.write(state.x, last, u), s, belief.best, state.rng.advance())


def test_a_discrete_sampler_of_ones_own_has_the_exact_law():
    law = torch.rand(3, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 3
    table = um.denoiser.ExactTokenDenoiser(law, um.process.Mask(3))
    found = sampled(table, LastFirst(), times=(1.0, 0.6, 0.4, 0.2, 0.0))
    assert far(found, table.law.flatten()) < 0.01


# A kind of condition


@config.register
class PoseConditioned(nn.Module):
    """Any backbone with `features`, told an angle: the extra condition "pose" becomes its vector."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x, level, condition=None):
        if condition is not None and "pose" in condition.extra:
            pose = condition.extra["pose"]
            vector = torch.stack([pose.cos(), pose.sin()], 1)
            flags = {"vector": given} if (given := condition.is_given("pose")) is not None else {}
            condition = dataclasses.replace(condition, vector=vector, extra={}, given=flags)
        return self.backbone(x, level, condition)


class Turned:
    """Points at an angle, which is their pose."""

    shape, classes = (2,), ()

    def batch(self, step, rows):
        pose = 6.3 * torch.rand(rows, generator=torch.Generator().manual_seed(step))
        return torch.stack([pose.cos(), pose.sin()], 1), um.Condition(extra={"pose": pose})


def test_a_kind_of_condition_of_ones_own_is_learned_guided_saved_and_joined(tmp_path):
    with um.rng.seeded(0):
        backbone = PoseConditioned(um.backbone.MLP(shape=(2,), width=32, depth=2, vector_width=2))
    model = um.Model(
        denoiser=um.denoiser.NetworkDenoiser(backbone, process(), um.prediction.V(), (2,)),
        codec=um.codec.Affine(),
        grid=um.grid.cosine(8),
        objective=um.objective.Regression(drop=0.1),
        training=um.train.Training(steps=250, batch=64, lr=1e-2, picture_every=0, precision="float32"),
        source=Turned(),
    ).fit(tmp_path, device="cpu", quiet=True)
    model = um.load(tmp_path, device="cpu")
    pose = torch.tensor([0.0, 1.5, 3.0, 4.5])
    aim = torch.stack([pose.cos(), pose.sin()], 1)
    known = um.Condition(extra={"pose": pose})
    guided = model.sample(4, condition=known, guidance=[1.0, 1.5, 2.0, 1.0], seed=1)
    assert (guided - aim).norm(dim=1).max() < 0.5
    shuffled = model.sample(4, condition=um.Condition(extra={"pose": pose.flip(0)}), seed=1)  # the control
    assert (shuffled - aim).norm(dim=1).min() > 1
    joined = um.Condition.join([known[:2], um.Condition(label=torch.tensor([1])), None], [2, 1, 1])
    assert joined.extra["pose"].tolist() == [0.0, 1.5, 0.0, 0.0]
    assert joined.is_given("pose").tolist() == [True, True, False, False]
    assert joined.null().is_given("pose").tolist() == [False] * 4
    with pytest.raises(um.UsageError, match="an extra condition called 'label'"):
        um.Condition(extra={"label": torch.zeros(1)})
