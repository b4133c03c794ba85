"""What self-distillation through time aims at, by enumeration of every path of the teacher's steps."""

import itertools

import pytest
import torch
from torch import nn
from truth.enumeration import L, Once, V, Wrong, far, law, states

from unmelt.condition import Condition
from unmelt.denoiser import ExactTokenDenoiser, TokenDenoiser
from unmelt.distill import SDTT, Setup
from unmelt.distill.sdtt import rollout_target
from unmelt.distill.token_student import row_divergence
from unmelt.process import Blend, Mask, Uniform
from unmelt.rng import Stream
from unmelt.sampler import grid
from unmelt.train import Training
from unmelt.train.step import Batch

PROCESSES = [Mask(V), Uniform(V), Blend(V, masks=0.6)]
ROWS = 40_000
MASKS = torch.full((L,), V)


class Table(nn.Module):
    """Logits of every x_t, each of which learns."""

    def __init__(self, logits, symbols):
        super().__init__()
        self.logits = nn.Parameter(logits.clone())
        self.powers = torch.tensor([symbols**k for k in range(L)])

    def forward(self, x_t, t, condition=None, where=None):
        logits = self.logits[(x_t.flatten(1) * self.powers).sum(1)].view(*x_t.shape, -1)
        return logits if where is None else logits[where]


def expected_target(teacher, x_t, times):
    """E[target] of one row, summed over every path of the teacher's steps."""
    process, every = teacher.process, states(teacher.process)
    now = (every == x_t).all(1).double()
    open_at_first = process.masked(x_t) if isinstance(process, Mask) else torch.ones(L, dtype=torch.bool)
    total = torch.zeros(L, V, dtype=torch.float64)
    for number, (t, s) in enumerate(itertools.pairwise(times)):
        rows = torch.full((len(every),), t, dtype=torch.float64)
        belief = teacher(every, rows)
        last = number == len(times) - 2
        for place in range(L):
            if isinstance(process, Mask):
                is_open = process.masked(every)[:, place]
                alpha_t, alpha_s = (process.schedule.alpha(torch.tensor(each, dtype=torch.float64)) for each in (t, s))
                share = 1.0 if last else ((alpha_s - alpha_t) / (1 - alpha_t)).item()
            else:
                is_open, share = torch.ones(len(every), dtype=torch.bool), float(last)
            weight = torch.where(is_open, now * share, 0.0)
            used = weight > 0
            total[place] += weight[used] @ belief.probabilities[used, place]
        each = process.law(every, belief, rows, torch.full_like(rows, s))
        step = torch.ones(len(every), len(every), dtype=torch.float64)
        for place in range(L):
            step *= each[:, place, every[:, place]]
        now = torch.where(now > 0, now, 0.0) @ torch.where(now[:, None] > 0, step, 0.0)
    return torch.where(open_at_first[:, None], total, torch.nan)


CASES = [
    (Mask(V), [V, V, V, V], (1.0, 0.5, 0.0)),
    (Mask(V), [V, 1, V, V], (0.9, 0.7, 0.5, 0.2)),
    (Uniform(V), [0, 1, 2, 2], (0.9, 0.6, 0.3)),
    (Blend(V, masks=0.6), [V, 1, V, 0], (0.8, 0.5, 0.3, 0.1)),
]


@pytest.mark.parametrize(("process", "x_t", "times"), CASES, ids=str)
def test_the_target_is_on_average_what_all_paths_of_smaller_steps_come_to(process, x_t, times):
    teacher, x_t = Wrong(process), torch.tensor(x_t)
    expected = expected_target(teacher, x_t, times)
    where = ~expected[:, 0].isnan()
    rows = [torch.full((ROWS,), t, dtype=torch.float64) for t in times]
    target = rollout_target(Once(teacher), x_t.expand(ROWS, L), where.expand(ROWS, L), rows, None, Stream(0))
    found = target.exp().mean(0)
    for place in where.nonzero()[:, 0]:
        torch.testing.assert_close(expected[place].sum(), torch.tensor(1.0, dtype=torch.float64))
        assert far(found[place], expected[place]) < 0.006
        assert far(found[place], teacher(x_t[None], rows[0][:1]).probabilities[0, place]) > 0.012


def error_of_exact(process, x_t, times):
    """How far the target is from an exact teacher's own belief, in total variation, at each open position."""
    teacher, x_t = ExactTokenDenoiser(law(), process), torch.tensor(x_t)
    expected = expected_target(teacher, x_t, times)
    belief = teacher(x_t[None], torch.tensor(times[:1], dtype=torch.float64)).probabilities[0]
    return torch.stack([(expected[k] - belief[k]).abs().sum() / 2 for k in range(L) if not expected[k, 0].isnan()])


def test_the_target_of_an_exact_teacher_is_its_own_belief_up_to_what_is_drawn_together():
    """At most one other token is drawn where two are open; in small steps two are drawn together at a rate of h^2."""
    for x_t in ([V, 1, V, 0], [V, 1, 2, 0]):
        assert error_of_exact(Mask(V), x_t, (0.9, 0.7, 0.5, 0.2)).max() < 1e-12
    for process in PROCESSES:
        start = [0, 1, 2, 2] if process == PROCESSES[1] else [V] * L
        coarse, fine = (error_of_exact(process, start, (0.9, 0.9 - h, 0)) for h in (0.01, 0.005))
        assert fine.max() > 1e-7
        torch.testing.assert_close(coarse / fine, torch.full_like(fine, 4.0), rtol=0.1, atol=0)


def test_a_single_step_aims_at_the_teacher_itself():
    teacher = Wrong(Mask(V))
    x_t, t = torch.tensor([[V, 1, V, V]]), torch.tensor([0.7], dtype=torch.float64)
    target = rollout_target(teacher, x_t, x_t == V, [t, t / 2], None, Stream(0))
    torch.testing.assert_close(target, teacher(x_t, t).log_probabilities)


def test_the_loss_is_least_at_the_mean_of_the_targets_and_is_a_mean_over_open_positions():
    draws = torch.Generator().manual_seed(0)
    target = torch.randn(500, L, V, dtype=torch.float64, generator=draws).softmax(-1)
    mean = target.mean(0).log().requires_grad_()
    where = torch.ones(500, L, dtype=torch.bool)
    loss = row_divergence(target.log().flatten(0, 1), mean.log_softmax(-1).repeat(500, 1), where)
    entropy = -(target * target.log()).sum(-1)
    torch.testing.assert_close(loss, (-(target * mean).sum(-1) - entropy).mean(1))
    (gradient,) = torch.autograd.grad(loss.mean(), mean)
    assert gradient.abs().max() < 1e-12
    where = torch.rand(500, L, generator=draws) < 0.5
    where[3] = False
    each = torch.rand(500, L, dtype=torch.float64, generator=draws)
    some = row_divergence(
        (target * 0 + 1 / V).log()[where], (each[..., None] * 0 - 1 + target)[where].log_softmax(-1), where
    )
    assert some[3] == 0
    row = (-(1 / V) * (target - 1).log_softmax(-1).sum(-1) + torch.tensor(1 / V).log()) * where
    torch.testing.assert_close(some, row.sum(1) / where.sum(1).clamp_min(1))


def step_of(teacher, student, steps=1, rounds=1, training_steps=8, **more):
    setup = Setup(
        teacher=teacher, student=student, grid=grid.uniform(steps), training=Training(steps=training_steps), **more
    )
    return SDTT(rounds=rounds).train_step(setup)


def table(process, logits):
    return TokenDenoiser(Table(logits, process.symbols), process, (L,)).double()


@pytest.fixture
def no_rounding(monkeypatch):
    """Beliefs are rounded to float32 on their way out of a network; here they are not."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.parametrize("process", PROCESSES[:2], ids=str)
def test_the_optimum_of_training_is_the_enumerated_target(process, no_rounding):
    wrong = Wrong(process)
    teacher, student = table(process, wrong.logits), table(process, wrong.logits)
    start = MASKS if isinstance(process, Mask) else torch.tensor([0, 2, 1, 1])
    number = int((start * student.backbone.powers).sum())
    x0 = torch.arange(V)[torch.randint(V, (ROWS, L), generator=torch.Generator().manual_seed(1))]
    step = step_of(teacher, student)

    def gradient():
        """Of the loss where x_1 is `start`; at t = 1 nothing is left of x0."""
        student.zero_grad()
        step.phases()[0].loss(Batch(x0, None, 0), Stream(2)).mean().backward()
        return student.backbone.logits.grad[number].abs().max().item() * (1 if isinstance(process, Mask) else V**L)

    assert gradient() > 0.008
    expected = expected_target(teacher, start, (1.0, 0.5, 0.0)).log()
    student.backbone.logits.data[number] = expected.detach()
    if not isinstance(
        process, Mask
    ):  # what a network is to say, the token's own evidence left out: at t = 1 it is none
        assert process.evidence(start[None], torch.ones(1, dtype=torch.float64)).abs().max() < 1e-9
    assert gradient() < (0.0015 if isinstance(process, Mask) else 0.0075)


def test_rounds_halve_the_steps_and_the_student_becomes_the_teacher():
    process = Mask(V)
    student, teacher = table(process, Wrong(process).logits), table(process, Wrong(process).logits)
    step = step_of(teacher, student, steps=2, rounds=3, training_steps=10)
    assert [step.round_of(k) for k in range(11)] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    copy = step.networks()["teacher"]
    assert copy is not teacher
    x0 = torch.zeros(4000, L, dtype=torch.int64)
    for number, smallest in ((0, 1 / 16), (5, 1 / 8), (9, 1 / 4)):
        times = []
        handle = copy.register_forward_pre_hook(lambda _, args, times=times: times.append(args[1]))
        step.phases()[0].loss(Batch(x0, None, number), Stream(2))
        handle.remove()
        first, second = times
        torch.testing.assert_close(first - second, torch.full_like(first, smallest))
        assert torch.equal(
            first.unique(), torch.arange(1, 1 + round(0.5 / smallest), dtype=torch.float64) * 2 * smallest
        )
        counts = torch.unique(first, return_counts=True)[1]
        assert counts.max() - counts.min() <= 1
    for number in range(10):
        with torch.no_grad():
            student.backbone.logits += 1
        before, learned = (each.backbone.logits.clone() for each in (copy, student))
        step.after_update("student", number)
        assert torch.equal(copy.backbone.logits, learned if number in (3, 6) else before)
        assert torch.equal(student.backbone.logits, learned)
    assert torch.equal(teacher.backbone.logits.float(), Wrong(process).logits.float())


def test_padding_and_known_tokens_are_neither_corrupted_nor_learned():
    for process in PROCESSES:
        student = table(process, Wrong(process).logits)
        step = step_of(student, student, steps=2, padding=1)
        x0 = torch.tensor([[0, 2, 1, 0]]).repeat(64, 1)
        known = torch.full_like(x0, -1)
        known[:, 0] = 0
        seen = []
        handle = step.networks()["teacher"].register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        step.phases()[0].loss(Batch(x0, Condition(known_tokens=known), 0), Stream(0)).mean().backward()
        handle.remove()
        for x_t in seen:
            assert (x_t[:, 0] == 0).all()
            assert (x_t[:, 2] == 1).all()
            assert not (x_t[:, 1] == 2).all()
        gradient = student.backbone.logits.grad.abs().sum((0, 2))
        assert gradient[0] == gradient[2] == 0
        assert gradient[1] > 0
        assert gradient[3] > 0
