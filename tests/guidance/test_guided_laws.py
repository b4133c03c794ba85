"""Guided sampling against closed forms, and against an independent integrator."""

import numpy as np
import pytest
import torch
from conformance.orders import at_ratio
from conformance.subjects import F64, Anisotropic, column, run, unchecked
from kinds import batch
from scipy.integrate import solve_ivp

from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.guidance import CFG, Autoguidance
from unmelt.process import Gaussian
from unmelt.sampler import Heun, grid, sample

FROM, TO = 20.0, 0.02
"""The noise-to-signal ratios between which the flow is integrated."""


def evenly(on, steps):
    """Times equidistant in log sigma / alpha, starting no higher than the schedule does."""
    top = min(FROM, torch.exp(-on.log_snr(column(1.0)) / 2).item())
    ratios = torch.logspace(np.log10(top), np.log10(TO), steps + 1, dtype=F64)
    return torch.stack([at_ratio(on, ratio.item()) for ratio in ratios]).clamp_max(1)


def ratio(on, t):
    return (on.sigma(t) / on.alpha(t)).item()


class Pair:
    """One exact denoiser for rows with a label, another for rows without."""

    def __init__(self, labelled, null):
        self.labelled, self.null, self.process, self.shape = labelled, null, labelled.process, labelled.shape

    def __call__(self, x_t, t, condition=None):
        given = torch.zeros(len(x_t), dtype=torch.bool) if condition is None else condition.is_given("label")
        if given is None:
            return self.labelled(x_t, t)
        return self.null(x_t, t).lerp(self.labelled(x_t, t), given.to(x_t.dtype)[:, None])


def integrate(model, x, times, condition=None):
    """x at the last of `times`, by Heun's method (order 2) with Richardson extrapolation (order 4)."""
    with unchecked():
        fine, coarse = (run(Heun(), model, x, some, condition=condition).x for some in (times, times[::2]))
    return (4 * fine - coarse) / 3


def zeros(rows):
    return Condition(label=torch.zeros(rows, dtype=torch.int64))


def test_guidance_between_gaussians_of_one_covariance_is_an_exact_gaussian(any_schedule):
    """Of N(a, S) with null N(b, S): the exact denoiser of N(b + scale (a - b), S), whose flow is known."""
    truth, scale = Anisotropic.make(), 3.0
    elsewhere = Anisotropic(column(-1.0, 0.5, 0.2), truth.axes, truth.spread)
    aim = Anisotropic(elsewhere.mean + scale * (truth.mean - elsewhere.mean), truth.axes, truth.spread)
    model = CFG(Pair(truth.denoiser(any_schedule), elsewhere.denoiser(any_schedule)), scale)

    x, t, _ = batch(30)
    wanted = aim.denoiser(any_schedule)(x, t).mean
    torch.testing.assert_close(model(x, t, zeros(30)).mean, wanted, rtol=1e-9, atol=1e-10)

    times = evenly(any_schedule, 80)
    start = any_schedule.alpha(times[0]) * truth.mean + any_schedule.sigma(times[0]) * x[:5]
    end = integrate(model, start, times, zeros(5))
    flow = aim.flow(start, any_schedule, times[0], times[-1])
    torch.testing.assert_close(end, flow, rtol=0, atol=1e-4)


def test_guidance_between_gaussians_of_two_widths_follows_the_closed_form_flow(any_schedule):
    """N(m, v) against the wider N(m, u): y = x / alpha keeps (y - m) / prod_i (v_i + rho^2)^(w_i / 2), w = (s, 1 - s).

    With rho = sigma / alpha, dy/drho = (y - D) / rho and D = m + sum_i w_i v_i / (v_i + rho^2) (y - m).
    """
    m, v, u, scale = 0.7, 0.25, 0.6, 2.5
    good, bad = (Mixture.gaussian(column(m), column(width)[:, None], Gaussian(any_schedule)) for width in (v, u))
    times = evenly(any_schedule, 80)
    before, after = ratio(any_schedule, times[0]), ratio(any_schedule, times[-1])

    def size(rho):
        return (v + rho**2) ** (scale / 2) * (u + rho**2) ** ((1 - scale) / 2)

    y = m + before * torch.linspace(-2, 2, 7, dtype=F64)[:, None]
    end = integrate(Autoguidance(good, bad, scale), any_schedule.alpha(times[0]) * y, times)
    wanted = m + (y - m) * size(after) / size(before)
    torch.testing.assert_close(end / any_schedule.alpha(times[-1]), wanted, rtol=0, atol=1e-5)


def test_guidance_between_two_classes_agrees_with_an_independent_integrator(any_schedule):
    """Classes N(+m, sd^2) and N(-m, sd^2), guided to the first: every end point and their mean over the prior."""
    m, sd, scale = column(1.0, 0.5), 0.5, 3.0
    model = CFG(Mixture.isotropic(torch.stack([m, -m]), sd, Gaussian(any_schedule)), scale)
    times = evenly(any_schedule, 100)
    before, after = ratio(any_schedule, times[0]), ratio(any_schedule, times[-1])
    nodes, weights = np.polynomial.hermite_e.hermegauss(7)  # over the prior's component along m
    along = torch.tensor(nodes, dtype=F64)[:, None] * m / m.norm()
    y = before * (along + 0.3 * torch.ones_like(along))

    def slope(log_rho, flat):
        """dy / dlog rho = y - D, in numpy from the formulas alone."""
        points, mean, rho2 = flat.reshape(y.shape), m.numpy(), np.exp(2 * log_rho)
        null = np.tanh(points @ mean / (sd**2 + rho2))[:, None]
        guided = (sd**2 * points + rho2 * mean * (scale + (1 - scale) * null)) / (sd**2 + rho2)
        return (points - guided).ravel()

    span = (np.log(before), np.log(after))
    wanted = solve_ivp(slope, span, y.numpy().ravel(), rtol=1e-10, atol=1e-10, method="DOP853").y[:, -1]
    wanted = torch.from_numpy(wanted.reshape(y.shape))
    end = integrate(model, any_schedule.alpha(times[0]) * y, times, zeros(7))
    end = end / any_schedule.alpha(times[-1])
    torch.testing.assert_close(end, wanted, rtol=0, atol=1e-4)
    share = torch.from_numpy(weights / weights.sum())
    torch.testing.assert_close(share @ end, share @ wanted, rtol=0, atol=1e-4)


def test_guided_samples_have_the_moments_of_the_guided_gaussian(any_schedule):
    """Sampled from the prior, of N(a, v) with null N(b, v): samples are N(b + scale (a - b), v)."""
    a, b, v, scale, rows = 1.0, -0.5, 0.3, 2.0, 1000
    exact = [Mixture.gaussian(column(m), column(v)[:, None], Gaussian(any_schedule)) for m in (a, b)]
    model = CFG(Pair(*exact), scale)
    made = sample(model, rows=rows, label=0, sampler=Heun(), grid=grid.karras(30), seed=0, dtype=F64)
    left = any_schedule.alpha(column(1.0)).item() / any_schedule.sigma(column(1.0)).item()  # signal left at t = 1
    aim = b + scale * (a - b)
    assert made.mean().item() == pytest.approx(aim, abs=5 * (v / rows) ** 0.5 + abs(aim) * left)
    assert made.var().item() == pytest.approx(v, rel=0.2)
