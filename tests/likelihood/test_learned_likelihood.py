"""The likelihood of held-out data under a trained network is close to that under the true density."""

import math

import pytest
import torch
from conformance.subjects import full, ring

from unmelt import recipe
from unmelt.likelihood import bound, log_likelihood
from unmelt.rng import RowSeeds

SD = 0.15


@pytest.mark.slow
def test_a_trained_ring_is_within_a_twentieth_of_a_nat_of_the_truth():
    """The entropy of a class is that of one Gaussian, log(2 pi e sd^2); the codec adds the log of its scale twice."""
    rows = 2000
    model = recipe.ring(steps=1500).fit(device="cpu", quiet=True)
    x, condition = model.held_out.batch(0, rows)
    units = 2 * math.log(model.codec.scale)
    with torch.no_grad():
        flow = log_likelihood(model.denoiser, model.codec.encode(x), condition, tolerance=1e-4)
        over = bound(model.denoiser, model.codec.encode(x), RowSeeds.of(0, rows), condition)
    exact = ring(model.denoiser.process.schedule)
    surprise = -exact.log_density(x.double(), full(rows, 0.0), condition)
    entropy = math.log(2 * math.pi * math.e * SD**2)
    assert surprise.mean().item() == pytest.approx(entropy, abs=4 * surprise.std().item() / rows**0.5)
    shortfall = (units - flow.value - surprise).mean().item()
    assert -0.02 < shortfall < 0.05
    assert abs((units - flow.value).mean().item() - entropy) < 0.05 + 3 * surprise.std().item() / rows**0.5
    assert (units + over.value - surprise).mean() > -4 * over.error.square().sum().sqrt() / rows
