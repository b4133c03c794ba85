"""The law of a sampler's output on an exact Gaussian, to rounding: its steps are affine and can be measured.

One row follows x = 0 without noise, others a unit vector in x or in one draw; what comes out is the whole affine
map, and with it the mean and covariance, which must be those of a recursion written down independently.
"""

import math
from itertools import pairwise

import pytest
import torch
from conformance.orders import at_ratio, warped
from conformance.subjects import F64, Anisotropic, Probe, run, slope, unchecked

from unmelt.sampler import DDIM, Ancestral, Langevin, Sampler
from unmelt.schedule import Schedule

TRUTH = Anisotropic.make()


def law(sampler: Sampler, on: Schedule, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance at times[-1] of rows started with the exact law at times[0]."""
    model, dim = TRUTH.denoiser(on), 3

    def follow(x: torch.Tensor, seeds: list[int]):
        rng = Probe(torch.tensor(seeds), torch.zeros(len(seeds), dtype=torch.int64))
        return run(sampler, model, x, times, rng)

    with unchecked():
        start = on.alpha(times[0]) * TRUTH.mean
        none = -100
        draws = int(follow(start[None], [none]).rng.draws[0])
        x = torch.cat([start.expand(1, dim), start + torch.eye(dim, dtype=F64), start.expand(draws * dim, dim)])
        seeds = [none] * (1 + dim) + [100 * draw + axis for draw in range(draws) for axis in range(dim)]
        end = follow(x, seeds).x
    change, kicks = end[1 : 1 + dim] - end[0], end[1 + dim :] - end[0]
    first = on.alpha(times[0]) ** 2 * TRUTH.covariance + on.sigma(times[0]) ** 2 * torch.eye(dim, dtype=F64)
    return end[0], change.T @ first @ change + kicks.T @ kicks


def marginal(on: Schedule, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return on.alpha(t) * TRUTH.mean, on.alpha(t) ** 2 * TRUTH.covariance + on.sigma(t) ** 2 * torch.eye(3, dtype=F64)


def bridge_recursion(on: Schedule, times: torch.Tensor, eta: float) -> torch.Tensor:
    """The variance along each axis, step by step (Song, Meng and Ermon, 2021, equations 12 and 16, for any alpha)."""
    variance = on.alpha(times[0]) ** 2 * TRUTH.spread + on.sigma(times[0]) ** 2
    for t, s in pairwise(times):
        a_t, s_t, a_s, s_s = on.alpha(t), on.sigma(t), on.alpha(s), on.sigma(s)
        belief = a_t * TRUTH.spread / (a_t**2 * TRUTH.spread + s_t**2)  # d x0 / d x_t
        fresh = eta**2 * s_s**2 / s_t**2 * (s_t**2 - (a_t / a_s) ** 2 * s_s**2)
        carried = a_s * belief + torch.sqrt(s_s**2 - fresh) * (1 - a_t * belief) / s_t
        variance = carried**2 * variance + fresh
    return variance


def langevin_recursion(on: Schedule, times: torch.Tensor, walks: int, size: float) -> torch.Tensor:
    variance = on.alpha(times[0]) ** 2 * TRUTH.spread + on.sigma(times[0]) ** 2
    for t in times[:-1]:
        level = on.alpha(t) ** 2 * TRUTH.spread + on.sigma(t) ** 2
        step = size * on.sigma(t) ** 2
        for _ in range(walks):
            variance = (1 - step / level) ** 2 * variance + 2 * step
    return variance


@pytest.mark.parametrize("sampler", [Ancestral(), DDIM(0.0), DDIM(0.5), DDIM(1.0)], ids=repr)
def test_the_law_of_ancestral_sampling_and_ddim_matches_its_recursion(any_schedule, sampler):
    times = torch.linspace(0.9, 0.05, 8, dtype=F64)
    mean, covariance = law(sampler, any_schedule, times)
    wanted = bridge_recursion(any_schedule, times, getattr(sampler, "eta", 1.0))
    torch.testing.assert_close(mean, marginal(any_schedule, times[-1])[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(covariance, TRUTH.axes * wanted @ TRUTH.axes.T, rtol=1e-9, atol=1e-11)


def test_the_law_of_langevin_matches_its_recursion(any_schedule):
    times = torch.linspace(0.6, 0.05, 4, dtype=F64)
    covariance = law(Langevin(walks=3, size=0.3), any_schedule, times)[1]
    wanted = langevin_recursion(any_schedule, times, 3, 0.3)
    torch.testing.assert_close(covariance, TRUTH.axes * wanted @ TRUTH.axes.T, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("sampler", [Ancestral(), DDIM(0.5)], ids=repr)
def test_ancestral_sampling_and_ddim_converge_in_law(any_schedule, sampler):
    """The mean is exact, and the error of the covariance falls like 1 / steps."""
    counts, errors = torch.tensor([8, 16, 32]), []
    for count in counts.tolist():
        times = any_schedule.time(-2 * warped(torch.linspace(0, 1, count + 1, dtype=F64)))
        mean, covariance = law(sampler, any_schedule, times)
        right_mean, right = marginal(any_schedule, times[-1])
        torch.testing.assert_close(mean, right_mean, rtol=1e-9, atol=1e-10)
        errors.append(torch.linalg.matrix_norm(covariance - right) / torch.linalg.matrix_norm(right))
    assert slope(torch.stack(errors), counts) == pytest.approx(1, abs=0.15)
    assert errors[-1] < 0.2


def test_langevin_converges_in_law(any_schedule):
    """At equilibrium the error is proportional to the step size: half the size with twice the steps halves it."""
    times = at_ratio(any_schedule, 0.7).expand(2) * torch.tensor([1.0, 0.999], dtype=F64)
    right, errors = marginal(any_schedule, times[0])[1], []
    sizes = [0.4, 0.2, 0.1]
    for size in sizes:
        covariance = law(Langevin(walks=round(16 / size), size=size), any_schedule, times)[1]
        errors.append(torch.linalg.matrix_norm(covariance - right) / torch.linalg.matrix_norm(right))
    assert slope(torch.stack(errors), 1 / torch.tensor(sizes)) == pytest.approx(1, abs=0.15)
    assert errors[-1] < 0.1
    assert math.isfinite(errors[0])
