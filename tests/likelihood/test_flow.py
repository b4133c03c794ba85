"""Log-likelihood along the flow, against closed forms, and against the integral of every density, which is 1."""

import math

import pytest
import torch
from conformance.subjects import F64, Anisotropic, column, ring, tilted, unchecked
from densities import nine, own_prior, random_network, truth

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.errors import UsageError
from unmelt.guidance import CFG
from unmelt.likelihood import Exact, Hutchinson, log_likelihood
from unmelt.posterior import Point
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds, Stream


def test_log_likelihood_of_the_ring_is_exact_to_a_thousandth_of_a_nat(any_schedule):
    exact = ring(any_schedule)
    x0 = exact.sample(50, Stream(0), F64)
    with unchecked():
        found = log_likelihood(exact, x0, prior=own_prior(exact))
    assert found.value.dtype == F64
    assert not found.value.requires_grad
    assert (found.error == 0).all()
    error = (found.value - truth(exact, x0)).abs()
    assert error.max() < 1e-3
    assert error.median() < 1e-4


@pytest.mark.parametrize("on", [schedule.Cosine(), schedule.Straight()])
def test_log_likelihood_in_eight_dimensions_from_pure_noise_is_exact(on):
    exact = nine(on)
    x0 = exact.sample(50, Stream(1), F64)
    with unchecked():
        assert (log_likelihood(exact, x0).value - truth(exact, x0)).abs().max() < 1e-3


def test_with_the_process_prior_it_is_the_density_of_the_samples(any_schedule):
    """For one Gaussian, in closed form: the prior where the flow ends, and the log-determinant of the flow."""
    gaussian = Anisotropic.make()
    x0 = gaussian.mean + torch.randn(50, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    x_1 = gaussian.flow(x0, any_schedule, column(0.0), column(1.0))
    alpha, sigma = any_schedule.alpha(column(1.0)), any_schedule.sigma(column(1.0))
    stretch = 0.5 * torch.log((alpha**2 * gaussian.spread + sigma**2) / gaussian.spread).sum()
    wanted = torch.distributions.Normal(0.0, sigma).log_prob(x_1).sum(1) + stretch
    with unchecked():
        found = log_likelihood(gaussian.denoiser(any_schedule), x0[:5]).value
    torch.testing.assert_close(found, wanted[:5], rtol=0, atol=1e-4)


def test_error_follows_the_tolerance_far_from_the_data():
    """Between the modes and far from them the flow is stiff, and steps must be small."""
    exact = ring(schedule.Straight())
    x0 = 1.2 * torch.randn(20, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    errors = []
    with unchecked():
        for tolerance in (1e-4, 1e-6):
            found = log_likelihood(exact, x0, tolerance=tolerance).value
            errors.append((found - truth(exact, x0)).abs().max().item())
    assert errors[0] < 0.1
    assert errors[1] < 1e-3


def test_bias_of_the_start_is_of_order_4():
    """For one Gaussian the bias is of order 4 in sigma_min / sd, and below 1e-4 nats at the default for sd = 0.03."""

    def error(sd, **settings):
        exact = Mixture.isotropic(torch.zeros(1, 1, dtype=F64), sd, Gaussian(schedule.Cosine()))
        x0 = sd * column(0.0, 1.0, 3.0)[:, None]
        with unchecked():
            found = log_likelihood(exact, x0, tolerance=1e-8, **settings).value
        return (found - truth(exact, x0)).abs().max().item()

    assert error(0.03) < 1e-4
    coarse, fine = error(0.5, sigma_min=0.1), error(0.5, sigma_min=0.05)
    assert math.log2(coarse / fine) == pytest.approx(4, abs=0.3)


def test_rows_with_and_without_a_class_have_their_own_densities():
    exact = tilted(schedule.Cosine())
    x0 = exact.sample(30, Stream(2), F64)
    condition = Condition(label=torch.arange(30) % 2).drop(torch.arange(30) % 3 == 0)
    found = log_likelihood(exact, x0, condition).value
    torch.testing.assert_close(found, truth(exact, x0, condition), rtol=0, atol=1e-3)


def test_float32_data_give_the_density_to_a_thousandth_of_a_nat():
    exact = ring(schedule.VarianceExploding())
    x0 = exact.sample(100, Stream(0))
    with unchecked():
        found = log_likelihood(exact, x0, prior=own_prior(exact))
    assert found.value.dtype == F64
    assert (found.value - truth(exact, x0)).abs().max() < 1e-3


def test_a_rows_log_likelihood_is_independent_of_its_batch():
    exact = ring(schedule.Cosine())
    x0, condition = column(2.0, 0.1, 0.3, -0.2, -1.8, 0.4).view(3, 2), Condition(label=torch.arange(3))
    with unchecked():
        for divergence in (lambda rng: Exact(), lambda rng: Hutchinson(rng, 2)):
            rng = RowSeeds.of(0, 3)
            together = log_likelihood(exact, x0, condition, divergence=divergence(rng))
            for row in (slice(0, 1), slice(1, 2)):
                alone = log_likelihood(exact, x0[row], condition[row], divergence=divergence(rng[row]))
                torch.testing.assert_close(alone.value, together.value[row], rtol=1e-12, atol=1e-12)
                torch.testing.assert_close(alone.error, together.error[row], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("on", [schedule.LinearBeta(), schedule.VarianceExploding()])
def test_densities_of_a_network_and_of_guidance_integrate_to_one(on):
    """There is no closed form for either."""
    x = torch.linspace(-8, 8, 161, dtype=F64)
    line = Mixture.isotropic(column(-1.0, 1.5)[:, None], 0.4, Gaussian(on))
    condition = Condition(label=torch.ones(len(x), dtype=torch.int64))
    with unchecked(), torch.no_grad():
        guided = log_likelihood(CFG(line, 2.5, (0.1, 0.9)), x[:, None], condition, tolerance=1e-6).value
        plain = log_likelihood(random_network(on, 1), x[:, None]).value
    assert torch.trapezoid(plain.exp(), x).item() == pytest.approx(1, abs=2e-4)
    assert torch.trapezoid(guided.exp(), x).item() == pytest.approx(1, abs=2e-4)
    assert (guided - truth(line, x[:, None], condition)).abs().max() > 0.1


def test_density_of_a_network_in_two_dimensions_integrates_to_one():
    """Its velocity is not a gradient field: the Jacobian is not symmetric."""
    axis = torch.linspace(-6, 6, 41, dtype=F64)
    x0 = torch.cartesian_prod(axis, axis)
    with unchecked(), torch.no_grad():
        density = log_likelihood(random_network(schedule.Straight(), 2), x0, tolerance=1e-4).value.exp()
    assert (density.sum() * (axis[1] - axis[0]) ** 2).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("x0", "settings", "says"),
    [
        (torch.zeros(4, 3), {}, "shape"),
        (torch.zeros(2), {}, "shape"),
        (torch.full((1, 2), math.nan), {}, "finite"),
        (torch.zeros(4, 2), {"condition": Condition(label=torch.zeros(3, dtype=torch.int64))}, "3 rows"),
        (torch.zeros(4, 2), {"sigma_min": 0.0}, "sigma_min"),
        (torch.zeros(4, 2), {"sigma_min": math.nan}, "sigma_min"),
        (torch.zeros(4, 2), {"sigma_min": 100.0}, "sigma_min"),
        (torch.zeros(4, 2), {"tolerance": 0.0}, "tolerance"),
        (torch.zeros(4, 2), {"tolerance": math.inf}, "tolerance"),
    ],
)
def test_invalid_settings_and_data_are_refused(x0, settings, says):
    with pytest.raises(UsageError, match=says):
        log_likelihood(ring(schedule.VarianceExploding()), x0, **settings)


def test_integers_and_inference_mode_are_refused():
    exact = ring(schedule.Cosine())
    with unchecked(), pytest.raises(UsageError, match="whole numbers"):
        log_likelihood(exact, torch.zeros(2, 2, dtype=torch.int64))
    with torch.inference_mode(), pytest.raises(UsageError, match="no_grad"):
        log_likelihood(exact, torch.zeros(2, 2))


def test_a_denoiser_that_gives_nan_raises_a_usage_error():
    class Broken:
        process = Gaussian(schedule.Cosine())

        def __call__(self, x_t, t, condition=None):
            return Point(x_t * torch.where(t > 0.5, math.nan, 1.0)[:, None])

    with pytest.raises(UsageError, match="not a number"):
        log_likelihood(Broken(), torch.zeros(2, 2))
