"""Adversarial distillation with discriminators in closed form: losses, penalties and gradients, and where it ends."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_distribution_matching import DIM, LABELS, PROCESS, ROWS, SKEWED, AffineStudent, Always, batch, x0_of
from torch import nn

import unmelt as um
from unmelt.distill.adversarial import AdversarialStep
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like
from unmelt.rng import Stream
from unmelt.train import Training

F64 = torch.float64


class Seeing(nn.Module):
    """A teacher whose one feature is x_r itself, and which remembers what it was asked."""

    feature_axis, shape = 1, (DIM,)

    def __init__(self, process=PROCESS):
        super().__init__()
        self.seen, self.process, self.asked = nn.Identity(), process, []
        self.weight = nn.Parameter(torch.zeros(1, dtype=F64))

    @property
    def feature_modules(self):
        return (self.seen,)

    def forward(self, x_t, t, condition=None):
        self.asked.append((x_t.detach(), t, condition))
        return Point(self.seen(x_t))


class Quadratic(nn.Module):
    """d = b . x + x . C x / 2 of a row's features."""

    def __init__(self, b=0.0, c=0.0):
        super().__init__()
        self.b = nn.Parameter(torch.full((DIM,), b, dtype=F64))
        self.c = nn.Parameter(torch.full((DIM,), c, dtype=F64))

    def forward(self, features):
        (x,) = features
        return (x[:, 0] * (self.b + self.c * x[:, 0] / 2)).sum(1)


def step_of(student, heads, **settings):
    setup = um.distill.Setup(
        teacher=Seeing(student.process), student=student, grid=um.grid.uniform(1), training=Training(steps=1)
    )
    return AdversarialStep(um.distill.Adversarial(**settings), setup, heads)


@pytest.mark.parametrize("process", [PROCESS, SKEWED])
def test_the_students_gradient_pulls_a_row_up_the_logit_by_the_chance_that_it_is_found_out(process):
    student, slope = AffineStudent(1.0, 0.5, process), 0.7
    step = step_of(student, Quadratic(slope))
    loss = step.phases()[0].loss(batch(x0=2.0), Stream(3))
    loss.mean().backward()
    (made, r, _), (real, at, _) = step.setup.teacher.asked
    assert torch.equal(r, at)
    logit, of_data = slope * made.sum(1), slope * real.sum(1)
    torch.testing.assert_close(loss.detach(), torch.log(1 + torch.exp(of_data - logit)))
    alpha, sigma = process.level(r)
    wanted = -(torch.sigmoid(of_data - logit) * slope * alpha).mean()
    torch.testing.assert_close(student.shift.grad, wanted.expand(DIM))
    for rows, mean in ((made, x0_of(student, process)), (real, 2.0)):  # what was melted
        noise = (rows - expand_like(alpha, rows) * mean) / expand_like(sigma, rows)
        assert abs(noise.mean().item()) < 0.05
        assert noise.var().item() == pytest.approx(1, abs=0.05)
    assert step.heads.b.grad is not None  # which the trainer throws away: the phase is the student's
    assert step.phases()[0].network == "student"


@pytest.mark.parametrize(("delta", "r"), [(0.1, 0.3), (1.0, 0.3), (0.1, 0.8)])
def test_the_penalties_are_the_squared_gradients_in_x0_in_units_of_the_data(delta, r):
    """A linear logit has one gradient everywhere, whatever the difference; of both rows, half of gamma each."""
    gamma, slope = 0.6, 0.7
    student = AffineStudent(1.0, 0.5)
    step = step_of(student, Quadratic(slope), penalty=gamma, difference=delta, times=Always(r))
    loss = step.phases()[1].loss(batch(x0=2.0), Stream(3)).detach()
    (real, *_), _, (made, *_), _ = step.setup.teacher.asked
    rest = loss - F.softplus(slope * made.sum(1) - slope * real.sum(1))
    assert (rest >= 0).all()
    wanted = gamma * (student.data_sd * (1 - r) * slope) ** 2 * DIM
    assert rest.mean().item() == pytest.approx(wanted, abs=4 * rest.std().item() / ROWS**0.5)
    assert rest.std().item() < 1.2 * wanted  # the mean of two squares of a normal number


def test_penalties_of_a_curved_logit_are_those_of_the_gradient_if_the_difference_is_small():
    step = step_of(AffineStudent(1.0, 0.5), Quadratic(0.2, -0.8), penalty=2.0, difference=1e-4, times=Always(0.4))
    loss = step.phases()[1].loss(batch(x0=2.0), Stream(3)).detach()
    (real, *_), _, (made, *_), _ = step.setup.teacher.asked
    logits = [step.heads([rows[:, None]]).detach() for rows in (real, made)]
    rest = loss - F.softplus(logits[1] - logits[0])
    squares = [((0.2 - 0.8 * rows) * 0.6 * 0.5).square().sum(1) for rows in (real, made)]
    assert rest.mean().item() == pytest.approx(sum(squares).mean().item(), abs=4 * rest.std().item() / ROWS**0.5)


def test_both_rows_are_seen_with_the_condition_of_which_they_are():
    step = step_of(AffineStudent(1.0, 0.5), Quadratic(0.2, 0.1))
    for phase in step.phases():
        phase.loss(batch(LABELS, x0=2.0), Stream(3))
    assert len(step.setup.teacher.asked) == 6
    for _, _, condition in step.setup.teacher.asked:
        assert torch.equal(condition.label, LABELS.label)


def test_only_the_heads_learn_from_the_discriminators_loss():
    step = step_of(AffineStudent(1.0, 0.5), Quadratic(0.2, 0.1))
    step.phases()[1].loss(batch(x0=2.0), Stream(3)).mean().backward()
    assert step.heads.b.grad.abs().min() > 0
    assert step.setup.student.shift.grad is None
    assert step.setup.teacher.weight.grad is None


def test_the_best_logit_is_flat_where_the_student_makes_the_data():
    """Equal laws: a flat logit is stationary for the discriminator."""
    law = torch.full((DIM,), -0.6, dtype=F64) + 0.8 * torch.randn(
        20 * ROWS, DIM, dtype=F64, generator=torch.Generator().manual_seed(1)
    )
    heads = Quadratic()
    step = step_of(AffineStudent(-0.6, 0.8), heads)
    loss = step.phases()[1].loss(batch(rows=20 * ROWS)._replace(x0=law), Stream(0))
    loss.mean().backward()
    assert loss.mean().item() == pytest.approx(math.log(2))
    assert heads.b.grad.abs().max() < 0.01
    assert heads.c.grad.abs().max() < 0.02


def test_the_game_ends_at_the_laws_mean_and_size():
    """A quadratic discriminator knows means and variances: the student's become the data's, from far away."""
    student, heads, rng = AffineStudent(1.0, 0.3), Quadratic(), torch.Generator().manual_seed(0)
    optimizers = [torch.optim.Adam(each.parameters(), 0.02, (0.0, 0.99)) for each in (student, heads)]
    step = step_of(student, heads, penalty=0.5)
    for number in range(600):
        x0 = -0.6 + 0.8 * torch.randn(400, DIM, dtype=F64, generator=rng)
        for optimizer, phase in zip(optimizers, step.phases(), strict=True):
            optimizer.param_groups[0]["lr"] = 0.04 * (1 - number / 600)
            for each in (student, heads):
                each.zero_grad()
            phase.loss(batch(number=number)._replace(x0=x0), Stream(number)).mean().backward()
            optimizer.step()
    torch.testing.assert_close(student.shift.detach(), torch.full((DIM,), -0.6, dtype=F64), atol=0.08, rtol=0)
    assert abs(student.gain.item()) == pytest.approx(0.8, abs=0.08)


def test_settings_that_make_no_sense_are_refused_and_so_is_guidance():
    for settings in ({"penalty": -1.0}, {"difference": 0.0}, {"penalty": math.inf}):
        with pytest.raises(um.UsageError, match=next(iter(settings))):
            um.distill.Adversarial(**settings)
    with pytest.raises(um.UsageError, match=r"guidance_range=\(1.0, 2.0\).*not guided"):
        um.distill.Adversarial().student(nn.Identity(), (1.0, 2.0))
