"""The sliced Wasserstein distance where transport is known."""

from itertools import pairwise

import pytest
import torch
from scipy import integrate

from unmelt.errors import UsageError
from unmelt.metric import sliced_wasserstein
from unmelt.rng import Stream


def _normal(rows, dim, seed):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dim", [1, 2, 3, 10])
def test_a_translation_is_its_squared_length_over_d(dim):
    x, shift = _normal(100, dim, 0), torch.arange(1.0, dim + 1).double()
    truth = shift.square().sum().item() / dim
    assert sliced_wasserstein(x, x + shift, Stream(0), projections=20_000) == pytest.approx(truth, rel=0.04)


def test_on_the_line_it_is_the_transport_between_sorted_points():
    a, b = _normal(50, 1, 0), 3 * _normal(50, 1, 1)
    truth = (a.flatten().sort().values - b.flatten().sort().values).square().mean().item()
    assert sliced_wasserstein(a, b, Stream(0), projections=3) == pytest.approx(truth, rel=1e-12)


def test_unequal_sizes_agree_with_the_integral_over_quantiles():
    a, b = _normal(7, 1, 0), _normal(12, 1, 1)
    left, right = a.flatten().sort().values, b.flatten().sort().values
    steps = sorted({k / 7 for k in range(8)} | {k / 12 for k in range(13)})

    def gap(q):
        return (left[min(int(q * 7), 6)] - right[min(int(q * 12), 11)]).item() ** 2

    truth = sum(integrate.fixed_quad(lambda q: [gap(v) for v in q], low, high, n=1)[0] for low, high in pairwise(steps))
    assert sliced_wasserstein(a, b, Stream(0), projections=1) == pytest.approx(truth, rel=1e-9)


def test_repeating_every_row_changes_nothing():
    a, b = _normal(30, 4, 0), _normal(20, 4, 1)
    assert sliced_wasserstein(a.repeat(3, 1), b, Stream(0)) == pytest.approx(
        sliced_wasserstein(a, b, Stream(0)), rel=1e-10
    )
    assert sliced_wasserstein(a, a.repeat(2, 1), Stream(0)) < 1e-20


def test_two_gaussians_have_the_closed_form():
    # Along every direction both are normal, of standard deviations 1 and 3: the distance is (3 - 1)^2.
    a, b = _normal(20_000, 3, 0), 3 * _normal(15_000, 3, 1)
    assert sliced_wasserstein(a, b, Stream(0), projections=64) == pytest.approx(4, rel=0.03)


def test_one_seed_gives_one_number_and_no_projections_are_refused():
    a, b = _normal(30, 4, 0), _normal(20, 4, 1)
    assert sliced_wasserstein(a, b, Stream(5)) == sliced_wasserstein(a, b, Stream(5))
    with pytest.raises(UsageError):
        sliced_wasserstein(a, b, Stream(0), projections=0)
