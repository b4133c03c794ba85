"""The energy distance by brute force, and around its expectation for Gaussians."""

import math

import pytest
import torch
from scipy import stats

from unmelt.errors import UsageError
from unmelt.metric import energy_distance


def _normal(rows, dim, seed):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _folded(mean, sd):
    """E|z| of z ~ N(mean, sd^2)."""
    return sd * math.sqrt(2 / math.pi) * math.exp(-((mean / sd) ** 2) / 2) + mean * math.erf(mean / sd / math.sqrt(2))


def test_energy_on_the_line_is_the_mean_over_all_pairs():
    a, b = _normal(23, 1, 0).flatten(), 2 * _normal(31, 1, 1).flatten() + 1
    across = sum(abs(x - y) for x in a for y in b) / (23 * 31)
    within_a = sum(abs(x - y) for x in a for y in a) / (23 * 22)
    within_b = sum(abs(x - y) for x in b for y in b) / (31 * 30)
    assert energy_distance(a[:, None], b[:, None]) == pytest.approx(
        (2 * across - within_a - within_b).item(), rel=1e-12
    )


def test_energy_is_scipys_distance_squared_without_pairs_of_a_row_with_itself():
    a, b = _normal(400, 1, 0), _normal(300, 1, 1) + 2
    own = _folded(0.0, math.sqrt(2)) * (1 / 400 + 1 / 300)
    expected = stats.energy_distance(a.flatten().numpy(), b.flatten().numpy()) ** 2 - own
    assert energy_distance(a, b) == pytest.approx(expected, rel=1e-3)


def test_the_estimate_is_unbiased():
    mean, sd = 1.0, 2.0
    truth = 2 * _folded(mean, math.sqrt(1 + sd**2)) - _folded(0.0, math.sqrt(2)) - _folded(0.0, sd * math.sqrt(2))
    different = torch.tensor(
        [energy_distance(_normal(8, 1, k), mean + sd * _normal(6, 1, 10_000 + k)) for k in range(1000)]
    )
    same = torch.tensor([energy_distance(_normal(8, 1, k), _normal(6, 1, 10_000 + k)) for k in range(1000)])
    for estimates, expected in ((different, truth), (same, 0.0)):
        error = estimates.std().item() / math.sqrt(len(estimates))
        assert abs(estimates.mean().item() - expected) < 3 * error
    assert same.min() < 0


def test_chunks_change_nothing_and_rows_may_have_any_shape():
    a, b = _normal(50, 12, 0), _normal(70, 12, 1)
    assert energy_distance(a, b, chunk=7) == pytest.approx(energy_distance(a, b), rel=1e-12)
    assert energy_distance(a.view(50, 3, 2, 2), b.view(70, 3, 2, 2)) == energy_distance(a, b)


def test_sets_of_one_row_are_refused():
    with pytest.raises(UsageError):
        energy_distance(torch.zeros(1, 2), torch.zeros(5, 2))
