"""Rows of different lengths in one batch: what is padding changes no belief, no loss and no other row."""

from dataclasses import replace

import pytest
import torch

import unmelt as um
from unmelt.condition import Condition
from unmelt.denoiser import FlowMap, NetworkDenoiser
from unmelt.denoiser.prediction import FlowVelocity
from unmelt.objective import FlatWeight, PerFrame, Regression, Stratified, Uniform
from unmelt.process import Gaussian
from unmelt.rng import Stream
from unmelt.schedule import Straight
from unmelt.train.step import Batch

PROCESS = Gaussian(Straight())


class Frames(torch.nn.Module):
    """A network that reads every frame by itself."""

    with_arrival = with_guidance = True

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, x, level, condition=None, arrival=None):
        return self.scale * x + 0.1


class Fixed:
    """Times and noise that are the same whatever the shape of the batch."""

    def __init__(self, noise):
        self.noise = noise

    def normal(self, shape, dtype=torch.float32, device="cpu"):
        return self.noise[tuple(slice(n) for n in shape)].to(dtype)

    def uniform(self, shape, dtype=torch.float32, device="cpu"):
        return torch.full(tuple(shape), 0.4, dtype=dtype)

    def batch_position(self, rows):
        return 0, rows


def batch():
    x0 = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([6, 4])[:, None]
    return x0 * mask[..., None], Condition(x_mask=mask)


def denoiser():
    return NetworkDenoiser(Frames(), PROCESS, FlowVelocity(), (6, 3))


def test_beliefs_are_zero_where_nothing_is_to_be_generated():
    x_t = torch.randn(2, 6, 3, dtype=torch.float64)
    t, condition = torch.full((2,), 0.5, dtype=torch.float64), batch()[1]
    free, masked = denoiser()(x_t, t).mean, denoiser()(x_t, t, condition).mean
    assert torch.equal(masked, free * condition.x_mask[..., None])
    jump = FlowMap(Frames(), PROCESS, FlowVelocity(), (6, 3))
    assert torch.equal(jump.jump(x_t, t, 0 * t, condition).mean, masked)
    assert torch.equal(condition.masked(x_t), x_t * condition.x_mask[..., None])
    assert Condition().masked(x_t) is x_t


@pytest.mark.parametrize("finer", [False, True])
def test_the_loss_of_a_row_is_that_of_the_row_alone(finer):
    x0, condition = batch()
    rng = Fixed(torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    times = Uniform()

    def loss(x, known):
        chosen = PerFrame(times, x.shape[1]) if finer else times
        return Regression(times=chosen, weight=FlatWeight(FlowVelocity()))(denoiser(), x, known, rng)

    together = loss(x0, condition)
    rng_alone = Fixed(rng.noise[1:])
    alone = Regression(times=PerFrame(times, 4) if finer else times, weight=FlatWeight(FlowVelocity()))(
        denoiser(), x0[1:, :4], None, rng_alone
    )
    torch.testing.assert_close(together[1:], alone, atol=1e-12, rtol=0)
    longer = torch.cat([x0, torch.zeros(2, 3, 3, dtype=torch.float64)], 1)
    padded = replace(condition, x_mask=torch.cat([condition.x_mask, torch.zeros(2, 3, dtype=torch.bool)], 1))
    torch.testing.assert_close(loss(longer, padded), together, atol=1e-12, rtol=0)


@pytest.mark.parametrize("method", [um.distill.Consistency(), um.distill.MeanFlow()])
def test_padding_gives_students_no_gradient(method):
    """A student that learns from padded rows learns the same of the frames, whatever the network makes of padding."""

    class Strange(Frames):
        def __init__(self):
            super().__init__()
            self.wild = torch.nn.Parameter(torch.tensor(5.0, dtype=torch.float64))

        def forward(self, x, level, condition=None, arrival=None):
            padding = ~condition.x_mask[..., None]
            return super().forward(x, level) + self.wild * padding

    student = FlowMap(Strange(), PROCESS, FlowVelocity(), (6, 3))
    training = um.train.Training(steps=10, batch=2)
    setup = um.distill.Setup(teacher=denoiser(), student=student, grid=um.grid.uniform(2), training=training)
    x0, condition = batch()
    step = method.train_step(setup)
    loss = step.phases()[0].loss(Batch(x0, condition, 5), Stream(0)).mean()
    loss.backward()
    assert student.backbone.scale.grad.abs() > 0
    assert student.backbone.wild.grad is None or student.backbone.wild.grad.abs() == 0


def test_stratified_times_are_drawn_for_rows():
    x0, condition = batch()
    loss = Regression(times=Stratified(Uniform()))(denoiser(), x0, condition, Stream(0))
    assert loss.shape == (2,)
