"""Samples that are not finite are refused; so are scales without sense."""

import math

import pytest
import torch

import unmelt as um
from unmelt.errors import UsageError
from unmelt.posterior import Point

PROCESS = um.process.Gaussian(um.schedule.VarianceExploding(0.002, 80.0))


class Breaks:
    """A denoiser whose belief is no number from a time on, in some rows."""

    process, shape = PROCESS, (2,)

    def __init__(self, value, below):
        self.value, self.below = value, below

    def __call__(self, x_t, t, condition=None):
        wrong = (t < self.below) & (torch.arange(len(t)) < 2)
        return Point(torch.where(wrong[:, None], self.value, torch.zeros_like(x_t)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sampler", [um.sampler.Euler(), um.sampler.DPMpp(order=2), um.sampler.Ancestral()], ids=str)
def test_samples_that_are_not_finite_are_refused(sampler, value):
    grid = um.grid.uniform(8)
    with pytest.raises(UsageError, match="2 of 5 rows that are not finite"):
        um.sample(Breaks(value, 0.55), rows=5, sampler=sampler, grid=grid)
    assert um.sample(Breaks(value, 0.0), rows=5, sampler=sampler, grid=grid).isfinite().all()


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf, 1e30, -1e30])
def test_scales_without_sense_are_refused_wherever_they_are_taken(scale):
    ring = um.denoiser.Mixture.ring(modes=2, radius=2.0, sd=0.15, process=PROCESS)
    with pytest.raises(UsageError, match="guidance scale"):
        um.guidance.CFG(ring, scale)
    with pytest.raises(UsageError, match="guidance scale"):
        um.guidance.APG(ring, scale)
    model = um.recipe.ring(width=8, depth=1, modes=2, steps=1, batch=4)
    for guidance in (scale, [2.0, scale]):
        with pytest.raises(UsageError, match="guidance scale"):
            model.sample(2, label=0, guidance=guidance)
