"""The variational bound: equal to -log p for an exact posterior, above it otherwise, the same on every schedule."""

import math

import numpy as np
import pytest
import torch
from conformance.subjects import F64, Anisotropic, column, full, ring, unchecked
from scipy.integrate import solve_ivp

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.errors import UsageError
from unmelt.likelihood import SIGMA_MIN, bound, log_likelihood
from unmelt.objective import ELBOWeight, Uniform
from unmelt.posterior import Point
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds, Stream


def agree(found, wanted):
    """Whether an estimate is unbiased and its standard error right: z has mean 0 and, roughly, size 1."""
    z = (found.value - wanted) / found.error
    mean, unsure = (found.value - wanted).mean(), found.error.square().sum().sqrt() / len(z)
    return abs(mean.item()) < 4 * unsure.item() and 0.7 < z.square().mean().sqrt().item() < 1.5


@pytest.mark.parametrize("on", [schedule.Cosine(), schedule.Straight(shift=3.0)])
def test_the_bound_of_an_exact_posterior_is_minus_log_p(on):
    """On schedules that end in pure noise, for every x0."""
    exact = ring(on)
    x0 = exact.sample(150, Stream(0), F64)
    with unchecked():
        found = bound(exact, x0, RowSeeds.of(1, 150), strata=64)
    assert agree(found, -exact.log_density(x0, full(150, 0.0)))


def test_the_mean_bound_of_one_gaussian_is_its_entropy_plus_the_gap_of_the_prior(any_schedule):
    """On every schedule, with the gap in closed form.

    The gap is the mean of log q(x_1) - log p(x_1) over q(x_1 | x0), where q = N(alpha m, alpha^2 S + sigma^2) and
    p = N(0, sigma^2).
    """
    gaussian, rows = Anisotropic.make(), 300
    exact = gaussian.denoiser(any_schedule)
    x0 = exact.sample(rows, Stream(0), F64)
    alpha, sigma = any_schedule.alpha(column(1.0)), any_schedule.sigma(column(1.0))
    variance = alpha**2 * gaussian.spread + sigma**2
    far = ((alpha * (x0 - gaussian.mean) @ gaussian.axes) ** 2 + sigma**2) / variance
    near = (alpha * x0 / sigma) ** 2 + 1
    gap = 0.5 * (near - far - torch.log(variance / sigma**2)).sum(1)
    with unchecked():
        found = bound(exact, x0, RowSeeds.of(2, rows))
    assert agree(found, gap - exact.log_density(x0, full(rows, 0.0)))
    entropy = 0.5 * torch.log(2 * math.pi * math.e * gaussian.spread).sum()
    assert abs((found.value - gap).mean() - entropy) < 4 * found.value.std() / rows**0.5


class Overconfident:
    """The belief about a number of unit variance, exaggerated at intermediate noise."""

    def __init__(self, much: float, on: schedule.Schedule) -> None:
        self.much, self.process = much, Gaussian(on)

    def gain(self, s):
        """dD/dz at s = (sigma / alpha)^2."""
        return (1 + self.much * 4 * s / (1 + s) ** 2) / (1 + s)

    def __call__(self, x_t, t, condition=None):
        alpha, sigma = self.process.level(t)
        return Point((self.gain((sigma / alpha) ** 2) / alpha)[:, None] * x_t)

    def variance(self, noise: float) -> float:
        """The variance of z = x_t / alpha at s = SIGMA_MIN^2, from V = s at sigma = 80:

        dV/ds = (1 + noise) (1 - gain) V / s - noise,      noise = 1 for the stochastic sampler, 0 for the flow
        """
        ends = (2 * math.log(80), 2 * math.log(SIGMA_MIN))
        found = solve_ivp(
            lambda log_s, v: (1 + noise) * (1 - self.gain(np.exp(log_s))) * v - noise * np.exp(log_s),
            ends,
            [80.0**2],
            rtol=1e-10,
            atol=1e-12,
            method="LSODA",
        )
        return found.y[0, -1]


@pytest.mark.parametrize("much", [0.5, 0.8])
def test_the_bound_of_a_wrong_belief_is_above_minus_log_p_of_the_stochastic_sampler(much):
    """The gap is significant, and the law of the flow is a different one."""
    model, rows = Overconfident(much, schedule.VarianceExploding()), 400
    x0 = torch.linspace(-2, 2, rows, dtype=F64)[:, None]

    def surprise(variance):
        return 0.5 * (x0[:, 0] ** 2 / variance + math.log(2 * math.pi * variance))

    with unchecked():
        found = bound(model, x0, RowSeeds.of(0, rows), strata=64)
        flow = log_likelihood(model, x0[::20], tolerance=1e-7).value
    least = surprise(model.gain(SIGMA_MIN**2) ** 2 * model.variance(1.0) + SIGMA_MIN**2)
    gap, unsure = (found.value - least).mean(), found.error.square().sum().sqrt() / rows
    assert gap > 4 * unsure
    assert ((found.value - least) / found.error).min() > -4.5
    torch.testing.assert_close(flow, -surprise(model.variance(0.0))[::20], rtol=0, atol=1e-4)


def test_schedules_with_the_same_end_points_give_the_same_bound():
    """With the same seeds the very same number: the bound depends on the end points of log SNR alone."""
    x0 = ring(schedule.Cosine()).sample(10, Stream(0), F64)
    families = [
        (schedule.Cosine(), schedule.Straight(), schedule.Straight(shift=3.0)),
        (schedule.Exponential(rate=10.05), schedule.LinearBeta(0.1, 20.0), schedule.LinearBeta(20.0, 0.1)),
        (schedule.VarianceExploding(0.002, 80.0), schedule.VarianceExploding(0.5, 80.0)),
    ]
    for family in families:
        first, *others = (bound(ring(on), x0, RowSeeds.of(0, 10), strata=4) for on in family)
        for other in others:
            torch.testing.assert_close(other.value, first.value, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(other.error, first.error, rtol=1e-6, atol=1e-6)


def test_the_bound_equals_the_elbo_with_uniform_times():
    """The plain estimator, with the ELBO weight of training, for a wrong belief."""
    on, rows, draws = schedule.VarianceExploding(), 50, 1000
    model, x0 = Overconfident(0.5, on), torch.linspace(-2, 2, 50, dtype=F64)[:, None]
    first, rng = on.time(column(-2 * math.log(SIGMA_MIN))).item(), Stream(5)
    data, t = x0.repeat(draws, 1), first + (1 - first) * rng.uniform((rows * draws,), F64)
    with unchecked():
        found = bound(model, x0, RowSeeds.of(0, rows), strata=256)
        x_t, _ = model.process.corrupt(data, t, rng)
        error = (model(x_t, t).mean - data).square()[:, 0] * ELBOWeight()(t, on, Uniform()) * (1 - first)
        at_start = full(rows * draws, first)
        x_t, _ = model.process.corrupt(data, at_start, rng)
        rest = (model(x_t, at_start).mean - data).square()[:, 0] / (2 * SIGMA_MIN**2) + math.log(
            2 * math.pi * SIGMA_MIN**2
        ) / 2
    plain = (error + rest).view(draws, rows)
    wanted, unsure = plain.mean(0) + x0[:, 0] ** 2 / (2 * 80**2), plain.std(0) / draws**0.5
    z = (found.value - wanted) / (found.error**2 + unsure**2).sqrt()
    assert z.abs().max() < 4
    assert z.square().mean().sqrt() < 1.4


def test_more_strata_reduce_the_standard_error():
    exact = ring(schedule.Straight())
    x0 = exact.sample(50, Stream(0), F64)
    with unchecked():
        few, many = (bound(exact, x0, RowSeeds.of(0, 50), strata=n).error.square().mean() for n in (4, 64))
    assert (few / many).sqrt() > 3


def test_a_rows_bound_is_independent_of_batch_and_precision_and_uses_its_class(any_schedule):
    exact = ring(any_schedule)
    x0, condition = exact.sample(6, Stream(0), label=2), Condition(label=torch.full((6,), 2))
    together = bound(exact, x0, RowSeeds.of(0, 6), condition, strata=8)
    assert together.value.dtype == F64
    assert together.value.isfinite().all()
    for row in (slice(0, 1), slice(3, 5)):
        alone = bound(exact, x0[row], RowSeeds.of(0, 6)[row], condition[row], strata=8)
        torch.testing.assert_close(alone.value, together.value[row], rtol=1e-6, atol=1e-6)
    double = bound(exact, x0.double(), RowSeeds.of(0, 6), condition, strata=8)
    assert (double.value.mean() - together.value.mean()).abs() < 5 * (double.error.mean() + together.error.mean())
    one = Mixture.isotropic(exact.means[2:3], 0.15, Gaussian(any_schedule))
    single = bound(one, x0, RowSeeds.of(0, 6), strata=8)
    torch.testing.assert_close(single.value, together.value, rtol=1e-3, atol=1e-3)


def test_the_bound_is_differentiable_and_its_error_is_not():
    exact, shift = ring(schedule.Straight()), torch.tensor(0.3, dtype=F64, requires_grad=True)

    class Shifted:
        process = exact.process

        def __call__(self, x_t, t, condition=None):
            return Point(exact(x_t, t).mean + shift)

    found = bound(Shifted(), exact.sample(50, Stream(0), F64), RowSeeds.of(0, 50), strata=16)
    (gradient,) = torch.autograd.grad(found.value.mean(), shift)
    assert gradient > 0
    assert not found.error.requires_grad


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"strata": 0}, "strata"),
        ({"strata": 2.5}, "strata"),
        ({"sigma_min": -1.0}, "sigma_min"),
        ({"sigma_min": 1e3}, "sigma_min"),
    ],
)
def test_invalid_settings_and_data_are_refused(settings, says):
    with unchecked(), pytest.raises(UsageError, match=says):
        bound(ring(schedule.VarianceExploding()), torch.zeros(1, 2), RowSeeds.of(0, 1), **settings)
    for bad in (torch.zeros(1, 3), torch.full((1, 2), math.inf)):
        with pytest.raises(UsageError):
            bound(ring(schedule.Cosine()), bad, RowSeeds.of(0, 1))


class Oracle:
    """Knows the data."""

    def __init__(self, x0, on):
        self.x0, self.process = x0, Gaussian(on)

    def __call__(self, x_t, t, condition=None):
        return Point(self.x0)


def test_each_term_of_the_bound_in_closed_form():
    """For a denoiser that knows x0 the diffusion term is 0, and only the prior depends on the data: SNR |x0|^2 / 2."""
    on, rows = schedule.VarianceExploding(0.05, 20.0), 200
    x0 = column(3.0, 1.0).repeat_interleave(rows)[:, None].expand(-1, 2)
    seeds = RowSeeds.of(list(range(rows)) * 2, 2 * rows)
    with unchecked():
        found = bound(Oracle(x0, on), x0, seeds, sigma_min=0.1)
    three, one = found.value[:rows], found.value[rows:]
    torch.testing.assert_close(three - one, torch.full((rows,), (18 - 2) / 2 / 400, dtype=F64), rtol=0, atol=1e-9)
    wanted = 2 / 400 / 2 + math.log(2 * math.pi * 0.1**2)
    assert abs(one.mean() - wanted) < 4 * one.std() / rows**0.5
    assert one.std().item() == pytest.approx(found.error[rows:].square().mean().sqrt().item(), rel=0.3)
