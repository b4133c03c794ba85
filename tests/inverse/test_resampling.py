"""Inpainting by replacement, with and without resampling, against the true conditional distribution."""

import torch
from conformance.subjects import F64, Fast, column, run, unchecked

from unmelt import schedule
from unmelt.denoiser import Mixture
from unmelt.inverse import Mask, Replacement, exact
from unmelt.process import Gaussian
from unmelt.sampler import Ancestral, Restart, grid

ROWS, KNOWN = 6000, torch.tensor([True, False])


def test_resampling_reduces_the_error_of_replacement():
    """Of two correlated numbers one is known; the mean and deviation of the other are known in closed form."""
    on = schedule.Cosine()
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=F64)
    prior = Mixture.gaussian(torch.zeros(2, dtype=F64), covariance, Gaussian(on))
    value = column(1.5, float("nan"))[None]
    truth = exact(prior, Mask(KNOWN), value[:, KNOWN], 0.0)
    mean, sd = truth.means[0, 1].item(), (1 - 0.8**2) ** 0.5
    assert abs(mean - 0.8 * 1.5) < 1e-9

    times = grid.cosine(25)(on)
    x = torch.randn(ROWS, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    off = {}
    for again in (0, 1, 8):
        with torch.no_grad(), unchecked():
            ended = run(
                Restart(Ancestral(), times=again), Replacement(prior, value, KNOWN), x, times, Fast.many(ROWS)
            ).x
        assert (ended[:, 0] - 1.5).abs().max() < 1e-9
        off[again] = abs(ended[:, 1].mean().item() - mean) + abs(ended[:, 1].std().item() - sd)
    assert off[1] < 0.75 * off[0]
    assert off[8] < 0.3 * off[0]
