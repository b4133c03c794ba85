"""The shared machinery of multistep solvers against formulas written down by hand."""

import pytest
import torch
from conformance.subjects import F64, Fast, Silent, column, full, run, tilted, unchecked

from unmelt import UsageError, schedule
from unmelt.denoiser import Mixture
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds
from unmelt.sampler import (
    DEIS,
    LMS,
    Adams,
    Churn,
    DPMpp,
    DPMppSingle,
    PredictorCorrector,
    Restart,
    SASolver,
    UniPC,
    grid,
)
from unmelt.sampler.ddim import DDIM


def test_lms_of_order_2_is_adams_bashforth_by_hand():
    """d(x / alpha) / dr = noise with r = sigma / alpha, by the textbook formula for unequal steps."""
    on = schedule.VarianceExploding(0.01, 10.0)
    model, times = tilted(on), column(0.9, 0.7, 0.55)
    r = on.sigma(times)
    y = 3 * torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    slopes, x = [], y
    for n in range(2):
        slopes.append((x - model(x, full(4, times[n])).mean) / r[n])
        h = r[n + 1] - r[n]
        past = 0.0 if n == 0 else h / (2 * (r[1] - r[0])) * (slopes[1] - slopes[0])
        x = x + h * (slopes[-1] + past)
    torch.testing.assert_close(run(LMS(2), model, y, times).x, x, rtol=1e-10, atol=1e-10)


def test_third_order_dpmpp_is_the_paper_s_formula():
    """Lu et al.'s 3M in terms of differences of the belief in lambda, the second derivative being twice the last one.

    Public implementations leave that factor 2 out, and are of order 2.
    """
    on = schedule.Cosine()
    model, times = tilted(on), column(0.8, 0.7, 0.58, 0.45)
    lam, alpha, sigma = on.log_snr(times) / 2, on.alpha(times), on.sigma(times)
    y = torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    with unchecked():
        states = [run(DPMpp(3), model, y, times[: n + 1]) for n in range(1, 4)]
    before = [y, states[0].x, states[1].x]
    m0, m1, m2 = (model(x, full(4, t)).mean for x, t in zip(before, times[:3], strict=True))
    h, r0, r1 = lam[3] - lam[2], (lam[2] - lam[1]) / (lam[3] - lam[2]), (lam[1] - lam[0]) / (lam[3] - lam[2])
    d0, d1 = (m2 - m1) / r0, (m1 - m0) / r1
    first, second = d0 + r0 / (r0 + r1) * (d0 - d1), (d0 - d1) / (r0 + r1)
    phi = torch.expm1(-h)
    x = sigma[3] / sigma[2] * before[2] - alpha[3] * (
        phi * m2 - (phi / h + 1) * first + 2 * ((phi + h) / h**2 - 0.5) * second
    )
    torch.testing.assert_close(states[2].x, x, rtol=1e-10, atol=1e-10)


def test_the_first_step_of_every_multistep_method_is_ddim(plain_schedule):
    """The first step of every method is `carry`'s, whatever it extrapolates later."""
    model, times = tilted(plain_schedule), column(0.9, 0.6)
    x = torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    wanted = run(DDIM(), model, x, times).x
    for sampler in (Adams(4), DEIS(3), LMS(4), UniPC(3), DPMpp(3)):
        torch.testing.assert_close(run(sampler, model, x, times).x, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sampler", [SASolver(1, eta=1.0), DPMpp(1, eta=1.0)])
def test_with_all_noise_fresh_order_1_is_ancestral(sampler, plain_schedule):
    model, times = tilted(plain_schedule), column(0.9, 0.5, 0.2)
    x = torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    ours, ddim = (run(one, model, x, times, RowSeeds.of(3, 4)).x for one in (sampler, DDIM(eta=1.0)))
    torch.testing.assert_close(ours, ddim, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "sampler",
    [
        DPMpp(2, eta=1.0),
        DPMpp(3, eta=1.0),
        DPMppSingle(eta=1.0),
        SASolver(3, eta=1.0),
        SASolver(3, eta=0.5),
        Churn(),
        Restart(DPMpp(), times=2),
        PredictorCorrector(),
    ],
)
def test_stochastic_solvers_keep_the_law_of_a_gaussian(sampler):
    """Many steps: mean and standard deviation of what comes out are those of the data."""
    sd, mean, rows = 0.5, column(0.3, -0.2), 10_000
    model = Mixture.gaussian(mean, sd**2 * torch.eye(2, dtype=F64), Gaussian(schedule.Cosine()))
    noise = torch.randn(rows, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
    times = grid.balanced(40)(schedule.Cosine())
    with torch.no_grad(), unchecked():
        x = run(sampler, model, noise, times, Fast.many(rows)).x
    assert (x.mean(0) - mean).abs().max() < 4 * sd / rows**0.5 + 0.01
    assert (x.std(0) / sd - 1).abs().max() < 0.07


@pytest.mark.parametrize(
    "make",
    [
        lambda: Adams(1),
        lambda: Adams(7),
        lambda: DEIS(0),
        lambda: LMS(5),
        lambda: UniPC(True),
        lambda: SASolver(eta=-1.0),
        lambda: DPMpp(eta=float("nan")),
        lambda: Churn(amount=-0.1),
        lambda: Restart(times=-1),
        lambda: Restart(interval=(0.5, 0.5)),
        lambda: PredictorCorrector(snr=0.0),
    ],
)
def test_invalid_settings_are_refused(make):
    with pytest.raises(UsageError):
        make()


def test_a_state_from_another_sampler_is_refused():
    model, x = tilted(schedule.Cosine()), torch.randn(2, 2, dtype=F64)
    silent = Silent(torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    state = DDIM().init(model, x, full(2, 0.9), silent)
    for sampler in (Adams(3), DPMpp(2), UniPC(2)):
        with pytest.raises(UsageError, match="another sampler"):
            sampler.step(model, state, full(2, 0.5))
