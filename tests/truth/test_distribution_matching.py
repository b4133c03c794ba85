"""Distribution matching with exact denoisers of both laws: gradients and losses in closed form."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

import unmelt as um
from unmelt.distill.distribution_matching import DistributionMatchingStep, Judgement, matching_loss
from unmelt.distill.rollout import rollout
from unmelt.objective import Stratified, Times
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like
from unmelt.rng import Part, Stream
from unmelt.sampler import Jump
from unmelt.train import Training
from unmelt.train.step import Batch

F64, ROWS, DIM = torch.float64, 4000, 3
PROCESS = um.process.Gaussian(um.schedule.Straight())
SKEWED = um.process.Gaussian(um.schedule.Exponential(3.0))  # some signal is left at t = 1, and alpha is not 1 - sigma
LABELS = um.Condition(label=torch.arange(ROWS) % 2)


class AffineStudent(nn.Module):
    """Jumps to shift + gain x_t, whatever the time: from N(0, sd^2) to a Gaussian that is known."""

    def __init__(self, shift, gain, process=PROCESS):
        super().__init__()
        self.shift = nn.Parameter(torch.full((DIM,), shift, dtype=F64))
        self.gain = nn.Parameter(torch.tensor(gain, dtype=F64))
        self.process, self.data_sd, self.shape = process, 0.5, (DIM,)

    def jump(self, x_t, t, s, condition=None):
        assert (s == 0).all()
        return Point(self.shift + self.gain * x_t)


class Spy(nn.Module):
    """An exact denoiser that remembers what it was asked, in the place of a network."""

    def __init__(self, exact, slope=0.0):
        super().__init__()
        self.exact, self.process, self.slope, self.asked = exact, exact.process, slope, []

    def forward(self, x_t, t, condition=None):
        self.asked.append((x_t, t, condition))
        return Point(self.exact(x_t.detach(), t, condition).mean)


class FakeSpy(Spy):
    """The same, with a linear discriminator."""

    def forward(self, x_t, t, condition=None):
        return Judgement(super().forward(x_t, t, condition).mean, self.slope * x_t.sum(1))


def gaussian(mean, variance, process=PROCESS):
    return um.denoiser.Mixture.gaussian(
        torch.full((DIM,), mean, dtype=F64), variance * torch.eye(DIM, dtype=F64), process
    )


def two_classes(first, second, process=PROCESS):
    return um.denoiser.Mixture.isotropic(torch.tensor([DIM * [first], DIM * [second]], dtype=F64), 0.4, process)


def step_of(student, real, fake, steps=1, guidance_range=None, **settings):
    setup = um.distill.Setup(
        teacher=real,
        student=student,
        grid=um.grid.uniform(steps),
        training=Training(steps=1),
        guidance_range=guidance_range,
    )
    return DistributionMatchingStep(um.distill.DistributionMatching(**settings), setup, fake)


def batch(condition=None, number=0, x0=math.nan, rows=ROWS):
    return Batch(torch.full((rows, DIM), x0, dtype=F64), condition, number)


def student_gradient(student, real, fake, **settings):
    """The gradient of the student's loss in its shift, and x_r, r and sigma^2 / alpha as they were drawn."""
    step = step_of(student, real, fake, **settings)
    step.phases()[0].loss(batch(), Stream(3)).mean().backward()
    x_r, r, _ = real.asked[-1]
    return student.shift.grad, x_r.detach(), r


def score(x_r, r, mean, variance, process):
    """Of a Gaussian at time r, in closed form."""
    alpha, sigma = (expand_like(each, x_r) for each in process.level(r))
    return (alpha * mean - x_r) / (alpha**2 * variance + sigma**2)


@pytest.mark.parametrize("process", [PROCESS, SKEWED])
def test_the_students_gradient_is_the_normalised_difference_of_the_scores(process):
    start = process.level(torch.ones(1, dtype=F64)).sigma.item()
    student = AffineStudent(1.0, 0.5, process)
    law, data = (1.0, (0.5 * start) ** 2), (-0.5, 0.8)
    real, fake = Spy(gaussian(*data, process)), FakeSpy(gaussian(*law, process))
    found, x_r, r = student_gradient(student, real, fake)
    alpha, sigma = (expand_like(each, x_r) for each in process.level(r))
    belief = (x_r + sigma**2 * score(x_r, r, *data, process)) / alpha  # Tweedie's formula
    x0 = 1.0 + 0.5 * process.prior((ROWS, DIM), drawn_noise(), F64)
    assert torch.equal(x0, x0_of(student, process))
    push = sigma**2 / alpha * (score(x_r, r, *law, process) - score(x_r, r, *data, process))
    wanted = push / (x0 - belief).abs().mean(1, keepdim=True)
    torch.testing.assert_close(found, wanted.mean(0) / DIM, rtol=1e-9, atol=1e-12)
    assert (found > 0.1).all()  # too far up, so that descent goes down


def drawn_noise():
    """The stream from which a rollout draws its first noise: one uniform number a row goes before."""
    rng = Stream(3)
    rng.uniform((ROWS,), F64)
    return rng


def x0_of(student, process):
    x = rollout(student, Jump(1.0), um.grid.uniform(1), batch().x0, None, Stream(3), 0).x_t
    return student.jump(x, None, torch.zeros(1)).mean.detach()


def test_equal_laws_leave_the_student_where_it_is():
    found, *_ = student_gradient(AffineStudent(1.0, 0.5), Spy(gaussian(1.0, 0.25)), FakeSpy(gaussian(1.0, 0.25)))
    assert found.abs().max() == 0


def test_the_normalisation_takes_the_size_of_each_row_away():
    x0, real = torch.tensor([[3.0, -1.0], [30.0, -10.0]], dtype=F64), torch.zeros(2, 2, dtype=F64)
    x0.requires_grad_()
    loss = matching_loss(x0, torch.tensor([[1.0, 0.0], [10.0, 0.0]], dtype=F64), real)
    (grad,) = torch.autograd.grad(loss.sum(), x0)
    torch.testing.assert_close(grad, torch.tensor([[0.25, 0.0], [0.25, 0.0]], dtype=F64))  # 1 / mean(3, 1) / 2
    torch.testing.assert_close(loss.detach(), torch.full((2,), 0.0625, dtype=F64))


def test_descent_with_the_exact_fake_ends_at_the_teachers_law():
    student, data = AffineStudent(1.0, 0.3), gaussian(-0.6, 0.8**2)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.08)
    for number in range(80):
        optimizer.param_groups[0]["lr"] = 0.08 * (1 - number / 80)
        law = gaussian(0.0, student.gain.item() ** 2)
        law.means = student.shift.detach()[None].clone()
        loss = step_of(student, data, FakeSpy(law)).phases()[0].loss(batch(rows=500), Stream(number)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(student.shift.detach(), torch.full((DIM,), -0.6, dtype=F64), atol=0.02, rtol=0)
    assert abs(student.gain.item()) == pytest.approx(0.8, abs=0.02)


@dataclass(frozen=True)
class Always(Times):
    """One time."""

    t: float

    def quantile(self, u, schedule):
        return torch.full_like(u, self.t)

    def density(self, t, schedule):
        return torch.ones_like(t)

    def draw(self, rows, schedule, rng):
        return torch.full((rows,), self.t, dtype=F64)


@pytest.mark.parametrize("r", [0.2, 0.7])
def test_the_fake_denoiser_regresses_on_what_the_student_makes(r):
    """Its loss at the exact belief is the weighted variance of x0 given x_r, of the student's law."""
    fake = FakeSpy(gaussian(1.0, 0.25))
    step = step_of(AffineStudent(1.0, 0.5), gaussian(-0.5, 0.8), fake, times=Always(r))
    loss = step.phases()[1].loss(batch(), Stream(1)).detach()
    alpha, sigma = 1 - r, r
    variance = 0.25 * sigma**2 / (alpha**2 * 0.25 + sigma**2)
    weight = (sigma**2 + alpha**2 * 0.5**2) / (sigma * 0.5) ** 2
    assert loss.mean().item() == pytest.approx(weight * variance, abs=4 * loss.std().item() / ROWS**0.5)
    assert all(torch.equal(each, torch.full((ROWS,), r, dtype=F64)) for _, each, _ in fake.asked)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_inputs_of_later_jumps_follow_the_students_law_and_not_the_datas(eta):
    """Their means and variances in closed form, for a student that is far from any data; the batch is not even read."""
    student, grid = ShiftingStudent(), um.grid.uniform(3)
    x_t, t = rollout(student, Jump(eta), grid, batch().x0, None, Stream(0), 0)
    times = grid(PROCESS.schedule)
    for number, at in enumerate(times[:-1].tolist()):
        here = x_t[t == at]
        assert abs(len(here) - ROWS / 3) < 1
        mean, variance = law_at(number, eta, times.tolist())
        error = (variance / len(here)) ** 0.5
        assert (here.mean(0) - mean).abs().max() < 4.5 * error
        assert (here.var(0) / variance - 1).abs().max() < 4.5 * (2 / len(here)) ** 0.5
    assert x_t.requires_grad is False


class ShiftingStudent(nn.Module):
    """Believes 7 + x_t / 2."""

    process, shape = PROCESS, (DIM,)

    def jump(self, x_t, t, s, condition=None):
        return Point(7 + 0.5 * x_t)


def law_at(number, eta, times):
    """Mean and variance after so many steps on the straight schedule, step by step as `sampler/jump.py` has it."""
    mean, variance = 0.0, 1.0
    for t, s in itertools.pairwise(times[: number + 1]):
        ratio = (1 - eta**2) ** 0.5 * s / (1 - s)
        r = ratio / (1 + ratio)
        a, b = r / t, (1 - r) - (1 - t) * r / t  # x_r = a x_t + b belief
        mean, variance = (a + 0.5 * b) * mean + 7 * b, (a + 0.5 * b) ** 2 * variance
        keep = (1 - s) / (1 - r)
        mean, variance = keep * mean, keep**2 * variance + s**2 - (keep * r) ** 2
    return mean, variance


def test_a_rows_number_of_steps_turns_and_does_not_depend_on_how_a_batch_is_divided():
    student, grid, x = ShiftingStudent(), um.grid.uniform(3), batch().x0
    whole = rollout(student, Jump(1.0), grid, x, None, Stream(5), 2)
    halves = [rollout(student, Jump(1.0), grid, x[: ROWS // 2], None, Part(Stream(5), part, 2), 2) for part in range(2)]
    assert torch.equal(torch.cat([each.x_t for each in halves]), whole.x_t)
    assert torch.equal(torch.cat([each.t for each in halves]), whole.t)
    times = grid(PROCESS.schedule)
    assert torch.equal(whole.t, times[(torch.arange(ROWS) + 2) % 3])


def test_guidance_is_the_real_beliefs_and_the_fake_network_is_told_the_scale():
    real, fake = Spy(two_classes(-1.0, 2.0)), FakeSpy(two_classes(0.0, 0.5))
    student = AffineStudent(0.3, 0.5)
    step = step_of(student, real, fake, guidance_range=(1.0, 3.0))
    step.phases()[0].loss(batch(LABELS), Stream(4)).mean().backward()
    x_r, r, condition = fake.asked[-1]
    scale = condition.guidance_scale
    assert scale.min() >= 1
    assert scale.max() <= 3
    assert scale.log().mean().item() == pytest.approx(math.log(3) / 2, abs=0.03)
    told = replace(condition, guidance_scale=None)
    own, null = (two_classes(-1.0, 2.0)(x_r, r, each).mean for each in (told, told.null()))
    guided = null + scale[:, None] * (own - null)
    x0 = x0_again(student, 4)
    wanted = (fake.exact(x_r, r, told).mean - guided) / (x0 - guided).abs().mean(1, keepdim=True)
    torch.testing.assert_close(student.shift.grad, wanted.mean(0) / DIM, rtol=1e-9, atol=1e-12)


def x0_again(student, seed):
    """What the student made in a guided step: the scales are drawn first."""
    rng = Stream(seed)
    rng.uniform((ROWS,), F64)
    x = rollout(student, Jump(1.0), um.grid.uniform(1), batch().x0, None, rng, 0).x_t
    return student.jump(x, None, torch.zeros(1)).mean.detach()


def test_the_discriminators_losses_are_the_logistic_ones_and_pull_the_student_to_what_looks_real():
    """Linear logits of equal laws: what remains of the student's gradient is the discriminator's."""
    c, slope = 0.3, 0.7
    student, law = AffineStudent(1.0, 0.5), gaussian(1.0, 0.25)
    real, fake = Spy(law), FakeSpy(law, slope)
    step = step_of(student, real, fake, gan_weight=c, times=Stratified(um.objective.Uniform()))
    loss = step.phases()[0].loss(batch(), Stream(3))
    loss.mean().backward()
    x_r, r, _ = fake.asked[-1]
    logit, alpha = slope * x_r.detach().sum(1), PROCESS.level(r).alpha
    torch.testing.assert_close(loss.detach(), c * torch.log(1 + torch.exp(-logit)))
    wanted = -(c * slope * torch.sigmoid(-logit) * alpha).mean().expand(DIM)
    torch.testing.assert_close(student.shift.grad, wanted)
    fake.asked.clear()
    loss = step.phases()[1].loss(batch(x0=5.0), Stream(3)).detach()
    (made, at, _), (data, same, _) = fake.asked
    assert torch.equal(at, same)
    alpha, sigma = PROCESS.level(at)
    noise = (data - 5 * alpha[:, None]) / sigma[:, None]  # what was melted is the batch
    assert noise.var().item() == pytest.approx(1, abs=0.05)
    plain = step_of(student, real, fake, times=step.method.times).phases()[1].loss(batch(), Stream(3)).detach()
    logistic = torch.log(1 + torch.exp(-slope * data.sum(1))) + torch.log(1 + torch.exp(slope * made.sum(1)))
    torch.testing.assert_close(loss - plain, c * logistic, rtol=1e-8, atol=1e-10)


def test_guided_students_have_no_discriminator_and_weights_are_not_negative():
    method = um.distill.DistributionMatching(gan_weight=0.1)
    law = gaussian(0.0, 1.0)
    setup = replace(step_of(AffineStudent(0.0, 1.0), Spy(law), FakeSpy(law)).setup, guidance_range=(1.0, 2.0))
    with pytest.raises(um.UsageError, match=r"gan_weight=0.1 with guidance_range.*gan_weight=0.0"):
        method.train_step(setup)
    with pytest.raises(um.UsageError, match="gan_weight"):
        um.distill.DistributionMatching(gan_weight=-1.0)
