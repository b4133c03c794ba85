"""Samples of the ring against its density: a chi-square test over cells of equal probability."""

import pytest
import torch
from conformance.subjects import F64, STOCHASTIC, Fast, column, name, ring, run, unchecked
from scipy.stats import chi2

from unmelt import schedule
from unmelt.rng import Stream
from unmelt.sampler import Ancestral, Heun, Langevin, grid

ROWS, SHELLS = 4000, 5
SURE = chi2.isf(1e-4, 6 * SHELLS - 1)
"""What an exact sampler exceeds once in ten thousand seeds."""


def surprise(x: torch.Tensor) -> float:
    """Chi-square over 6 modes times SHELLS shells of equal probability around each."""
    modes = ring(schedule.Straight()).means
    distance, nearest = ((x[:, None] - modes) ** 2).sum(-1).min(1)
    edges = -2 * 0.15**2 * torch.log(1 - torch.arange(1, SHELLS, dtype=F64) / SHELLS)  # a Rayleigh law's quantiles
    cell = nearest * SHELLS + torch.bucketize(distance, edges)
    expected = len(x) / (6 * SHELLS)
    return ((torch.bincount(cell, minlength=6 * SHELLS) - expected) ** 2 / expected).sum().item()


def make(sampler, on, times, seed=1):
    with unchecked():
        rng = Fast.many(ROWS, seed)
        x = on.sigma(column(1.0)) * rng.normal((ROWS, 2), F64)
        return run(sampler, ring(on), x, times, rng.advance()).x


def test_the_chi_square_test_accepts_exact_samples_and_rejects_wrong_ones():
    exact = ring(schedule.Straight())
    assert max(surprise(exact.sample(ROWS, Stream(seed), F64)) for seed in range(5)) < SURE
    few = exact.sample(ROWS, Stream(0), F64)
    assert surprise(few * 1.03) > SURE  # modes 3% too far out
    assert surprise(torch.cat([few, exact.sample(ROWS // 6, Stream(9), F64, label=0)])) > SURE  # one mode too full
    sharp = torch.where(torch.rand(ROWS, 1) < 0.1, exact.means[torch.randint(6, (ROWS,))], few)
    assert surprise(sharp) > SURE


@pytest.mark.parametrize("on", [schedule.VarianceExploding(), schedule.Cosine()], ids=name)
@pytest.mark.parametrize("sampler", [one for one in STOCHASTIC if not isinstance(one, Langevin)], ids=name)
def test_stochastic_samplers_with_many_steps_have_the_law_of_the_ring(sampler, on):
    assert surprise(make(sampler, on, grid.log_snr(160, sigma_min=0.005)(on))) < SURE


def test_samples_with_few_steps_are_rejected():
    on = schedule.VarianceExploding()
    assert surprise(make(Ancestral(), on, grid.log_snr(10, sigma_min=0.005)(on))) > SURE


def test_samples_of_the_ode_have_the_law_of_the_ring():
    on = schedule.VarianceExploding()
    assert surprise(make(Heun(), on, grid.log_snr(100, sigma_min=0.005)(on))) < SURE
