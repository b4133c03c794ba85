"""The Frechet distance against the closed forms of Gaussians."""

import math

import pytest
import scipy.linalg
import torch

from unmelt.data import digits
from unmelt.errors import UsageError
from unmelt.metric import ClassifierMargins, Pixels, frechet_distance, frechet_extrapolated


def _exactly(mean, root, rows, seed=0):
    """Rows whose fitted mean and covariance are exactly these: whitened noise, coloured by covariance = root root^T."""
    dim = len(mean)
    x = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    white = torch.linalg.qr(x - x.mean(0)).Q * math.sqrt(rows - 1)
    return mean + white @ root.T


def _random(dim, seed):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(dim, generator=generator, dtype=torch.float64),
        torch.randn(dim, dim, generator=generator, dtype=torch.float64),
    )


def test_one_dimension_has_the_closed_form():
    mean = torch.tensor([1.0], dtype=torch.float64)
    a, b = _exactly(mean, torch.eye(1).double() * 2, 50), _exactly(-mean, torch.eye(1).double() * 5, 80, seed=1)
    assert frechet_distance(a, b) == pytest.approx(2**2 + (2 - 5) ** 2, rel=1e-12)


def test_commuting_covariances_have_the_closed_form():
    mean, _ = _random(4, 0)
    sd_a, sd_b = torch.tensor([1.0, 2, 3, 4]).double(), torch.tensor([4.0, 0.5, 3, 0]).double()
    a, b = _exactly(mean, torch.diag(sd_a), 40), _exactly(2 * mean, torch.diag(sd_b), 30, seed=1)
    expected = mean.square().sum() + (sd_a - sd_b).square().sum()
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-12)


def test_any_covariances_agree_with_the_formula_with_matrix_roots():
    (mean_a, root_a), (mean_b, root_b) = _random(6, 0), _random(6, 1)
    a, b = _exactly(mean_a, root_a, 100), _exactly(mean_b, root_b, 90, seed=1)
    cov_a, cov_b = (root_a @ root_a.T).numpy(), (root_b @ root_b.T).numpy()
    half = scipy.linalg.sqrtm(cov_a)
    cross = scipy.linalg.sqrtm(half @ cov_b @ half).real
    expected = (mean_a - mean_b).square().sum().item() + (cov_a + cov_b - 2 * cross).trace()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_a_set_is_at_zero_from_itself_for_rank_deficient_covariances_too():
    x = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x) < 1e-12
    assert frechet_distance(x, x.flip(0)) < 1e-12
    constant = torch.full((5, 3), 0.1)
    assert frechet_distance(constant, constant) == 0
    assert frechet_distance(constant, constant + 2.0) == pytest.approx(12, rel=1e-6)


def test_shifts_scales_and_exchange_act_as_on_a_squared_distance():
    (mean, root), v = _random(5, 2), torch.arange(5.0).double()
    x = _exactly(mean, root, 60)
    assert frechet_distance(x, x + v) == pytest.approx(v.square().sum().item(), rel=1e-10)
    spread = root.square().sum().item()
    assert frechet_distance(x - x.mean(0), 3 * (x - x.mean(0))) == pytest.approx(4 * spread, rel=1e-10)
    y = _exactly(*_random(5, 3), 70)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-10)


def test_sets_of_one_row_are_refused():
    with pytest.raises(UsageError):
        frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3))


def test_pixels_are_averages_over_areas():
    images = torch.rand(3, 2, 16, 24, generator=torch.Generator().manual_seed(0))
    pooled = Pixels(4)(images).view(3, 2, 4, 4)
    assert torch.allclose(pooled[1, 1, 2, 3], images[1, 1, 8:12, 18:24].double().mean())
    small = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Pixels(8)(small), small.flatten(1).double())
    assert torch.equal(Pixels(32)(small), small.flatten(1).double())
    assert Pixels(4).name == "pixels4"


def test_damaged_digits_score_far_above_the_floor():
    pixels = Pixels()
    train, held_out = digits().all()[0], digits(held_out=True).all()[0]
    floor = frechet_distance(pixels(train), pixels(held_out))
    assert floor == pytest.approx(0.088, abs=0.005)
    noise = torch.randn(train.shape, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(pixels(train + 0.1 * noise), pixels(held_out)) > 3 * floor
    assert frechet_distance(pixels(train.flip(-1)), pixels(held_out)) > 10 * floor
    assert frechet_distance(pixels(train[:1].expand_as(train)), pixels(held_out)) > 10 * floor


def test_margins_have_a_name_and_a_number_for_each_pair_of_classes(classifier):
    features = ClassifierMargins(classifier)
    assert features.name == "margins"
    assert features(digits(held_out=True).all()[0][:7]).shape == (7, 45)


def test_extrapolation_removes_the_bias_of_few_samples():
    """Two samples of one law: the distance to a large one is all bias, c / n, and extrapolation removes nearly all."""
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(200_000, 16, generator=rng, dtype=torch.float64)
    few = [torch.randn(400, 16, generator=rng, dtype=torch.float64) for _ in range(12)]
    plain = sum(frechet_distance(x, real) for x in few) / 12
    without_end = sum(frechet_extrapolated(x, real) for x in few) / 12
    assert plain > 0.15
    assert abs(without_end) < 0.15 * plain
