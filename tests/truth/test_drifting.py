"""Drifting: the field by its double sum, its symmetries, and what its loss moves, in float64."""

import math

import pytest
import torch
from conformance.subjects import F64
from torch import nn

import unmelt as um
from unmelt import UsageError, schedule
from unmelt.condition import Condition
from unmelt.distill import Drifting, Setup
from unmelt.distill.drifting import drift, groups, members
from unmelt.posterior import Point
from unmelt.process import Gaussian
from unmelt.rng import Stream
from unmelt.sampler import Jump, grid
from unmelt.train import Batch, Training


def points(rows, dim=2, seed=0, mean=0.0, sd=1.0):
    return mean + sd * torch.randn(rows, dim, dtype=F64, generator=torch.Generator().manual_seed(seed))


X, REAL, MADE = points(5, seed=1), points(7, seed=2, mean=1.0), points(6, seed=3, mean=-1.0)


def by_enumeration(x, real, made, tau, others=False):
    """The double sum over y+ and y-, each weight from its two sums of kernels."""
    ys = torch.cat([real, made])
    k = [[math.exp(-math.dist(row, y) / tau) for y in ys.tolist()] for row in x.tolist()]
    for row in range(len(x) if others else 0):
        k[row][len(real) + row] = 0.0
    over_y = [sum(row) for row in k]
    over_x = [sum(row[column] for row in k) for column in range(len(ys))]
    out = torch.zeros_like(x)
    for row in range(len(x)):
        w = [k[row][column] / math.sqrt(over_y[row] * over_x[column]) for column in range(len(ys))]
        for plus in range(len(real)):
            for minus in range(len(real), len(ys)):
                out[row] += w[plus] * w[minus] * (ys[plus] - ys[minus])
    return out


def slope(made, real, group=None, **settings):
    """Where the loss moves each generated row: minus its gradient."""
    made = made.clone().requires_grad_()
    group = torch.zeros(len(made), dtype=torch.int64) if group is None else group
    loss = Drifting(**settings).row_loss(made, real, group)
    return loss.detach(), -torch.autograd.grad(loss.sum(), made)[0]


@pytest.mark.parametrize("tau", [0.3, 2.0])
def test_the_field_is_the_double_sum_over_real_and_generated_rows(tau):
    torch.testing.assert_close(drift(X, REAL, MADE, tau), by_enumeration(X, REAL, MADE, tau), rtol=1e-9, atol=1e-12)
    wanted = by_enumeration(X, REAL, X, tau, others=True)
    torch.testing.assert_close(drift(X, REAL, X, tau, others=True), wanted, rtol=1e-9, atol=1e-12)


def test_the_field_changes_sign_when_the_laws_change_places_and_vanishes_where_they_are_equal():
    torch.testing.assert_close(drift(X, REAL, MADE, 0.7), -drift(X, MADE, REAL, 0.7), rtol=1e-10, atol=1e-13)
    assert drift(X, REAL, REAL, 0.7).abs().max() < 1e-12
    assert drift(X, REAL, REAL[torch.randperm(7)], 0.7).abs().max() < 1e-12
    assert drift(X, REAL, MADE, 0.7).abs().max() > 1e-2


def test_generated_rows_move_towards_real_ones():
    real, made = points(100, seed=4, mean=2.0), points(100, seed=5, mean=-2.0)
    moved = drift(made, real, made, 1.0, others=True)
    assert (moved.sum(1) > 0).float().mean() > 0.95
    _, direction = slope(made, real)
    assert (direction.sum(1) > 0).float().mean() > 0.95


def test_the_loss_moves_rows_along_the_normalised_fields():
    made, real = points(12, 3, seed=6), points(12, 3, seed=7, mean=0.5, sd=2.0)
    distance = torch.tensor([[math.dist(x.tolist(), y.tolist()) for y in real] for x in made], dtype=F64).mean()
    scale, total = distance / math.sqrt(3), torch.zeros_like(made)
    for temperature in (0.1, 0.5):
        field = by_enumeration(made, real, made, (temperature * distance).item(), others=True)
        total += field / field.square().mean().sqrt()
    loss, direction = slope(made, real, temperatures=(0.1, 0.5))
    torch.testing.assert_close(loss, total.square().mean(1), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(direction, 2 * total / (3 * scale), rtol=1e-8, atol=1e-10)
    single, _ = slope(made, real, temperatures=(0.3,))
    assert single.mean().item() == pytest.approx(1.0)  # whatever the data, so that one learning rate serves all
    again, smaller = slope(10 * made, 10 * real, temperatures=(0.1, 0.5))
    torch.testing.assert_close(again, loss)
    torch.testing.assert_close(smaller, direction / 10)


def test_only_rows_of_one_group_drift_among_one_another():
    made, real = points(20, seed=8), points(20, seed=9, sd=2.0)
    group = torch.tensor([0, 1, 1, 5] * 5)
    group[0] = 7  # a row that is alone in its group stays where it is
    rows = {value: (group == value).nonzero()[:, 0] for value in (0, 1, 5)}
    distance = torch.cat([torch.cdist(made[own], real[own]).flatten() for own in rows.values()]).mean()
    wanted = torch.zeros_like(made)
    for own in rows.values():
        tau = (0.2 * distance).item()
        wanted[own] = by_enumeration(made[own], real[own], made[own], tau, others=True)
    _, direction = slope(made, real, group, temperatures=(0.2,))
    factor = (direction * wanted).sum() / (wanted * wanted).sum()
    torch.testing.assert_close(direction, factor * wanted, rtol=1e-7, atol=1e-10)
    assert direction[0].abs().max() == 0
    assert sorted(len(own) for own in members(group)) == [4, 5, 10]
    loss, still = slope(made[:2], real[:2], torch.tensor([0, 1]))
    assert loss.abs().max() == 0
    assert still.abs().max() == 0


def test_groups_are_classes():
    label = torch.tensor([2, 2, 3, 3, 2, 2])
    known = Condition(label=label).drop(torch.tensor([False, False, False, False, True, True]))
    group = groups(known, 6)
    assert group.tolist() == [2, 2, 3, 3, -1, -1]
    assert torch.equal(groups(Condition(label=label), 6), label)
    assert groups(None, 6).tolist() == groups(Condition(), 6).tolist() == [-1] * 6
    with pytest.raises(UsageError, match="Drifting with a vector"):
        groups(Condition(vector=torch.zeros(6, 2)), 6)


def test_particles_that_follow_the_loss_take_the_law_of_the_data():
    real = points(150, seed=10) @ torch.tensor([[1.5, 0.0], [0.8, 0.4]], dtype=F64) + 1.0
    made = points(150, seed=11, mean=-3.0, sd=0.2)
    for step in range(300):
        _, direction = slope(made, real)
        made = made + 0.1 * (1 - step / 300) * direction
    torch.testing.assert_close(made.mean(0), real.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(made.T.cov(), real.T.cov(), rtol=0.2, atol=0.1)


class Seen(nn.Module):
    """A flow map that notes what it is given, and believes that x0 is 0."""

    def __init__(self, on):
        super().__init__()
        self.process, self.seen = Gaussian(on), []

    def jump(self, x_t, t, s, condition=None):
        self.seen.append((x_t, t, s))
        return Point(torch.zeros_like(x_t, requires_grad=True))


def test_jumps_begin_at_every_time_of_the_grid_in_turn_and_at_pure_noise_know_nothing_of_the_data():
    student, times = Seen(schedule.VarianceExploding()), grid.balanced(2)
    setup = Setup(teacher=None, student=student, grid=times, training=Training(steps=1))
    (phase,) = Drifting().train_step(setup).phases()
    for step in range(3):
        phase.loss(Batch(torch.full((200, 2), 1e6, dtype=F64), None, step), Stream(step))
    for step, (x_t, t, s) in enumerate(student.seen):
        assert (t == times(student.process.schedule)[step % 2]).all()
        assert (s == 0).all()
        if step % 2:
            assert (x_t > 1e5).all()
        else:
            torch.testing.assert_close(x_t, 80 * Stream(step).normal((200, 2), F64))


def test_a_student_learns_the_ring_from_data_alone_and_says_what_it_cannot_do():
    model = um.recipe.ring(width=32, depth=2, modes=3)
    student = model.distill(
        Drifting(from_scratch=True, batch=96), steps=1, training_steps=80, lr=1e-2, device="cpu", quiet=True
    )
    assert isinstance(student.sampler, Jump)
    assert student.sampler.eta == 1
    x = student.sample(300, label=1, seed=0)
    real, known = model.source.batch(0, 1000)
    own = real[known.label == 1]
    assert (x.mean(0) - own.mean(0)).norm() < 0.3
    assert 0.02 < x.std(0).mean() < 0.6
    with pytest.raises(UsageError, match="guidance_range=None"):
        model.distill(Drifting(from_scratch=True), steps=1, guidance_range=(1.0, 2.0), device="cpu", quiet=True)
    with pytest.raises(UsageError, match="temperatures"):
        Drifting(temperatures=(0.1, 0.0))
