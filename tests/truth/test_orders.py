"""Orders of convergence of all deterministic samplers, on every schedule, against exact solutions."""

import pytest
import torch
from conformance.orders import STEPS, Order, gaussian_errors, mixture_errors, table
from conformance.subjects import (
    F64,
    SPACINGS,
    Anisotropic,
    Fast,
    column,
    name,
    ring,
    run,
    slope,
    stated_order,
    unchecked,
)

from unmelt.denoiser import Mixture
from unmelt.process import Gaussian
from unmelt.sampler import DDIM, Adaptive, DPMpp, Euler, grid

MEASURED: dict[tuple[str, str], Order] = {}


@pytest.fixture(scope="module", autouse=True)
def _print_the_table():
    yield
    print("\n" + table(list(MEASURED.values())))


def test_every_sampler_has_its_order_of_convergence(plain_schedule, stepped_sampler):
    stated, steps = stated_order(stepped_sampler), torch.tensor(STEPS)
    gaussian, mixture = (errors(stepped_sampler, plain_schedule) for errors in (gaussian_errors, mixture_errors))
    order = Order(name(stepped_sampler), name(plain_schedule), stated, slope(gaussian, steps), slope(mixture, steps))
    MEASURED[order.sampler, order.schedule] = order
    assert order.gaussian > 0.9 * stated
    assert order.mixture > 0.9 * stated
    assert max(gaussian[-1], mixture[-1]) < 0.02


def test_the_error_of_the_adaptive_solver_follows_its_tolerance(plain_schedule):
    """The error falls with the tolerance at the rate of the method's order, and does not depend on the output times."""
    truth, noise = Anisotropic.make(), torch.randn(32, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    x = plain_schedule.sigma(column(1.0)) * noise
    wanted = truth.flow(x, plain_schedule, column(1.0), column(0.0))
    tolerances = (1e-3, 1e-4, 1e-5)
    with unchecked():
        for steps in (1, 5):
            times = grid.cosine(steps)(plain_schedule)
            ends = [run(Adaptive(tolerance), truth.denoiser(plain_schedule), x, times).x for tolerance in tolerances]
            errors = [(end - wanted).square().mean().sqrt().item() for end in ends]
            assert all(error < 8 * tolerance for error, tolerance in zip(errors, tolerances, strict=True))
            assert errors[2] < errors[0] / 15


def test_the_fitted_order_is_that_of_synthetic_errors():
    """The order fitted to synthetic errors is the one that they were made with."""
    steps = torch.tensor(STEPS)
    for order in (1, 2, 3):
        assert slope(3.0 / steps.double() ** order, steps) == pytest.approx(order, abs=1e-9)


def test_every_sampler_ends_on_a_point_mass_without_residual_noise(plain_schedule, any_sampler):
    """With every sampler, schedule and grid, every row ends on the point."""
    point = torch.tensor([0.7, -1.3], dtype=F64)
    model = Mixture.gaussian(point, torch.zeros(2, 2, dtype=F64), Gaussian(plain_schedule))
    for make in SPACINGS.values():
        with unchecked():
            times = make(3)(plain_schedule)
            x = plain_schedule.sigma(times[0]) * torch.randn(
                4, 2, dtype=F64, generator=torch.Generator().manual_seed(0)
            )
            end = run(any_sampler, model, x, times, Fast.many(4))
        assert end.t.tolist() == [0.0] * 4
        assert (end.x - point).abs().max() < 1e-6  # 1e-12 but where knots crowd at t = 1, as nodes a hair apart do


def test_samples_of_a_narrow_gaussian_have_its_width(plain_schedule, deterministic_sampler):
    sd, rows = 1e-3, 256
    model = Mixture.gaussian(torch.zeros(2, dtype=F64), sd**2 * torch.eye(2, dtype=F64), Gaussian(plain_schedule))
    noise = torch.randn(rows, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    with unchecked():
        times = grid.log_snr(24, sigma_min=1e-5)(plain_schedule)
        end = run(deterministic_sampler, model, plain_schedule.sigma(times[0]) * noise, times).x
    assert (end.std() / sd - 1).abs() < 0.35
    assert torch.corrcoef(torch.stack([end.flatten(), noise.flatten()]))[0, 1] > 0.999


def test_more_steps_reduce_the_error_from_pure_noise_to_data(plain_schedule, deterministic_sampler):
    """From t = 1 to exactly 0, against the closed form."""
    truth, noise = Anisotropic.make(), torch.randn(32, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    x = plain_schedule.sigma(column(1.0)) * noise
    wanted = truth.flow(x, plain_schedule, column(1.0), column(0.0))
    errors = []
    with unchecked():
        for steps in (6, 18, 54):
            times = grid.log_snr(steps, sigma_min=1e-4 / steps, sigma_max=1e4)(plain_schedule)
            end = run(deterministic_sampler, truth.denoiser(plain_schedule), x, times).x
            assert torch.isfinite(end).all()
            errors.append((end - wanted).square().mean().sqrt().item())
    assert errors[2] < errors[0]
    assert errors[2] < max(errors[1] / 2, 1e-3)
    assert errors[2] < 0.25


def test_deterministic_ddim_and_first_order_dpmpp_equal_euler(any_schedule):
    with unchecked():
        model, times = ring(any_schedule), grid.cosine(15)(any_schedule)
        x = any_schedule.sigma(column(1.0)) * torch.randn(20, 2, dtype=F64)
        euler, ddim, dpm = (run(sampler, model, x, times).x for sampler in (Euler(), DDIM(0.0), DPMpp(1)))
    assert (ddim - euler).abs().max() < 1e-12
    assert (dpm - euler).abs().max() < 1e-12
