import math

import pytest
import torch
from conformance.subjects import F64, ring, tilted

from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.errors import UsageError
from unmelt.guidance import CFG
from unmelt.process import Gaussian
from unmelt.rng import Rows
from unmelt.sampler import DPMpp, grid, sample


def rows(count=40):
    x, t = torch.randn(count, 2, dtype=F64), torch.linspace(0.01, 0.99, count, dtype=F64)
    return x, t, Condition(label=torch.arange(count) % 2)


def test_scale_one_is_unguided_bit_for_bit(any_schedule):
    x, t, condition = rows()
    model = tilted(any_schedule)
    assert torch.equal(CFG(model, 1.0)(x, t, condition).mean, model(x, t, condition).mean)
    settings = {"rows": 3, "label": 1, "sampler": DPMpp(2), "grid": grid.karras(4), "seed": 0}
    assert torch.equal(sample(CFG(model, 1.0), **settings), sample(model, **settings))
    assert torch.equal(CFG(model, 3.0)(x, t).mean, model(x, t).mean)


def test_scale_zero_is_the_null_belief(any_schedule):
    x, t, condition = rows()
    model = tilted(any_schedule)
    assert torch.equal(CFG(model, 0.0)(x, t, condition).mean, model(x, t, condition.null()).mean)
    torch.testing.assert_close(model(x, t, condition.null()).mean, model(x, t).mean)


def test_guided_mean_in_closed_form(any_schedule):
    """Classes N(+m, sd^2) and N(-m, sd^2): E[x0 | x_t] = pull + mine tanh(alpha x_t.m / C)."""
    m, sd, scale = torch.tensor([1.0, 0.5], dtype=F64), 0.6, 2.5
    model = Mixture.isotropic(torch.stack([m, -m]), sd, Gaussian(any_schedule))
    x, t, _ = rows()
    alpha, sigma = any_schedule.alpha(t)[:, None], any_schedule.sigma(t)[:, None]
    total = alpha**2 * sd**2 + sigma**2
    pull, mine = alpha * sd**2 / total * x, sigma**2 / total * m
    null = pull + mine * torch.tanh((x @ m)[:, None] * alpha / total)
    wanted = null + scale * (pull + mine - null)
    guided = CFG(model, scale)(x, t, Condition(label=torch.zeros(40, dtype=torch.int64))).mean
    torch.testing.assert_close(guided, wanted, rtol=1e-10, atol=1e-11)


def test_only_inside_the_interval(any_schedule):
    x, t, condition = rows()
    model = tilted(any_schedule)
    plain, always = model(x, t, condition).mean, CFG(model, 3.0)(x, t, condition).mean
    within = CFG(model, 3.0, interval=(0.3, 0.6))(x, t, condition).mean
    inside = (t >= 0.3) & (t <= 0.6)
    assert torch.equal(within[~inside], plain[~inside])
    assert torch.equal(within[inside], always[inside])
    assert not torch.equal(always, plain)


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf])
def test_scales_that_are_no_numbers_are_refused(any_schedule, scale):
    with pytest.raises(UsageError, match="guidance scale"):
        CFG(ring(any_schedule), scale)


@pytest.mark.parametrize("interval", [(0.6, 0.3), (0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (math.nan, 1.0)])
def test_bad_intervals_are_refused(any_schedule, interval):
    with pytest.raises(UsageError, match="interval"):
        CFG(ring(any_schedule), 2.0, interval)


def test_guided_samples_stay_row_by_row(any_schedule):
    model = CFG(ring(any_schedule), 2.0)
    settings = {"label": 2, "sampler": DPMpp(2), "grid": grid.karras(5), "dtype": F64, "seed": 4}
    torch.testing.assert_close(sample(model, rows=5, **settings)[:2], sample(model, rows=2, **settings))
    assert Rows.of(4, 2).seeds.shape == (2,)
