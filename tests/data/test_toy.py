"""Samples follow the densities that the docstrings state."""

import math

import pytest
import torch
from scipy import stats

from unmelt.data import Checkerboard, Moons, Ring, Spirals, TwoModes
from unmelt.denoiser import Mixture
from unmelt.errors import UsageError
from unmelt.process import Gaussian
from unmelt.rng import Stream
from unmelt.schedule import Cosine

ROWS = 20_000
ENOUGH = 1e-3  # a test of a true statement at fixed seeds fails once in a thousand choices of them


def _draw(toy):
    x, labels = toy.sample(ROWS, Stream(0))
    return x.double(), labels


def _is_even(counts):
    return stats.chisquare(counts.numpy()).pvalue > ENOUGH


def _is_normal(values, sd):
    return stats.kstest((values / sd).numpy(), "norm").pvalue > ENOUGH


def test_two_modes_has_the_distribution_function_of_the_mixture():
    toy = TwoModes()
    x, labels = _draw(toy)
    cdf = lambda v: (stats.norm.cdf(v, -2, 0.3) + stats.norm.cdf(v, 2, 0.3)) / 2  # noqa: E731
    assert stats.kstest(x.flatten().numpy(), cdf).pvalue > ENOUGH
    assert torch.equal(labels, (x.flatten() > 0).long())
    assert toy.means.flatten().tolist() == [-2, 2]


def test_ring_modes_match_the_exact_denoiser():
    toy = Ring()
    x, labels = _draw(toy)
    assert _is_even(labels.bincount())
    gap = x - toy.means[labels]
    assert _is_normal(gap.flatten(), toy.sd)
    exact = Mixture.ring(6, 2.0, 0.15, Gaussian(Cosine()))
    assert torch.equal(exact.means, toy.means)
    assert torch.allclose(exact.spread, torch.full((6, 2), toy.sd**2, dtype=torch.float64))


def test_checkerboard_is_uniform_on_the_dark_squares():
    x, labels = _draw(Checkerboard())
    assert labels is None
    column, row = (x + 2).floor().long().clamp(0, 3).T
    assert ((column + row) % 2 == 0).all()
    assert x.abs().max() <= 2
    counts = torch.bincount(4 * column + row, minlength=16)
    assert (counts > 0).sum() == 8
    assert _is_even(counts[counts > 0])
    assert stats.kstest((x[:, 0] % 1).numpy(), "uniform").pvalue > ENOUGH
    assert stats.kstest((x[:, 1] % 1).numpy(), "uniform").pvalue > ENOUGH


def test_spirals_without_noise_lie_on_their_arms():
    toy = Spirals(sd=1e-6)
    x, labels = _draw(toy)
    radius = x.norm(dim=1)
    angle = 2 * math.pi * toy.turns * radius / toy.radius + math.pi * labels
    on_arm = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    assert (x - on_arm).abs().max() < 1e-4
    assert stats.kstest((radius / toy.radius).square().numpy(), "uniform").pvalue > ENOUGH
    assert _is_even(labels.bincount())


def test_moons_are_half_circles_with_gaussian_noise():
    toy = Moons(sd=0.01)
    x, labels = _draw(toy)
    side = 1.0 - 2.0 * labels
    from_centre = side[:, None] * x + torch.tensor([2 / 3, 1 / 3], dtype=torch.float64)
    # Across a curve this much wider than the blur, the blur is a plain normal.
    assert _is_normal(from_centre.norm(dim=1) - 4 / 3, 0.01 * math.sqrt(1 + 1e-4))
    assert from_centre[:, 1].min() > -0.06
    assert _is_even(labels.bincount())


@pytest.mark.parametrize("toy", [TwoModes(), Ring(), Checkerboard(), Spirals(), Moons()])
def test_every_toy_is_centred_and_of_similar_size(toy):
    x, _ = _draw(toy)
    assert x.mean(0).abs().max() < 0.05
    assert x.abs().max() < 4
    assert 0.3 < x.std() < 2.2


def test_mistakes_are_usage_errors():
    with pytest.raises(UsageError, match="sd=0"):
        Ring(sd=0.0)
    with pytest.raises(UsageError, match="modes=0"):
        Ring(modes=0)
