import math

import pytest
import torch
from conformance.subjects import F64, column, levels

from unmelt import schedule
from unmelt.errors import UsageError

INNER = torch.cat([torch.logspace(-12, -2, 41, dtype=F64), torch.linspace(0.02, 0.98, 49, dtype=F64)])
ALL = torch.cat([INNER, 1 - torch.logspace(-2, -9, 29, dtype=F64)])


def test_end_points_are_exact(any_schedule):
    start, end = column(0.0), column(1.0)
    assert any_schedule.sigma(start).item() == 0
    assert any_schedule.alpha(start).item() == 1
    assert any_schedule.log_snr(start).item() == math.inf
    assert torch.isfinite(any_schedule.sigma(end)).all()
    if isinstance(any_schedule, schedule.Cosine | schedule.Straight):
        assert any_schedule.alpha(end).item() == 0
        assert any_schedule.log_snr(end).item() == -math.inf


@pytest.mark.parametrize("value", [schedule.Cosine(), schedule.Straight(), schedule.Straight(3.0)], ids=repr)
def test_sigma_is_1_at_t_1_where_no_signal_is_left(value):
    assert value.sigma(column(1.0)).item() == pytest.approx(1, abs=1e-15)


def test_schedules_equal_their_published_formulas():
    t = torch.linspace(0.001, 0.999, 97, dtype=F64)
    near = {"rtol": 1e-13, "atol": 1e-15}
    beta = schedule.LinearBeta(0.1, 20.0)
    integral = torch.stack([torch.linspace(0, u, 51, dtype=F64) for u in t.tolist()])
    integral = torch.trapezoid(0.1 + 19.9 * integral, integral, dim=1)  # exact: beta is linear
    torch.testing.assert_close(beta.alpha(t), torch.exp(-integral / 2), rtol=1e-12, atol=0)
    torch.testing.assert_close(schedule.Cosine().alpha(t), torch.cos(math.pi / 2 * t), **near)
    torch.testing.assert_close(schedule.Straight().alpha(t), 1 - t, **near)
    torch.testing.assert_close(schedule.Straight().sigma(t), t, **near)
    exploding = schedule.VarianceExploding(0.002, 80.0)
    assert exploding.sigma(column(1.0)).item() == pytest.approx(80.0, rel=1e-14)
    high = t[t > 0.5]  # geometric (Song et al., 2021): equal ratios in equal times
    growth = torch.log(exploding.sigma(high)).diff() / high.diff()
    torch.testing.assert_close(growth, torch.full_like(growth, growth.mean()), rtol=1e-4, atol=0)


def test_alpha_squared_plus_sigma_squared_is_1_on_variance_preserving_schedules(any_schedule):
    if isinstance(any_schedule, schedule.Exponential | schedule.LinearBeta | schedule.Cosine):
        total = any_schedule.alpha(ALL) ** 2 + any_schedule.sigma(ALL) ** 2
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-15)


def test_alpha_decreases_and_sigma_increases(any_schedule):
    t = torch.cat([column(0.0), torch.linspace(1e-9, 1, 20_001, dtype=F64)])
    assert (any_schedule.alpha(t).diff() <= 0).all()
    assert (any_schedule.sigma(t).diff() >= 0).all()
    assert (any_schedule.log_snr(t).diff() < 0).all()
    assert (any_schedule.log_snr_rate(t) < 0).all()


def test_rates_equal_the_derivatives_by_autograd(any_schedule):
    t = ALL.clone().requires_grad_()
    for value, rate in [
        (any_schedule.alpha, any_schedule.alpha_rate),
        (any_schedule.sigma, any_schedule.sigma_rate),
        (any_schedule.log_snr, any_schedule.log_snr_rate),
    ]:
        out = value(t)
        if out.grad_fn is None:  # a constant
            torch.testing.assert_close(rate(t), torch.zeros_like(t))
            continue
        (derivative,) = torch.autograd.grad(out.sum(), t)
        # The absolute tolerance is for autograd, which rounds where a sine is flat.
        torch.testing.assert_close(rate(t).detach(), derivative, rtol=1e-11, atol=1e-14)


def test_rates_at_the_end_points_have_the_right_sign_and_are_finite_at_t_1(any_schedule):
    assert any_schedule.alpha_rate(column(0.0)).item() <= 0
    assert any_schedule.sigma_rate(column(0.0)).item() > 0
    assert math.isfinite(any_schedule.alpha_rate(column(1.0)).item())
    assert math.isfinite(any_schedule.sigma_rate(column(1.0)).item())


def test_time_inverts_log_snr(any_schedule):
    times = any_schedule.time(any_schedule.log_snr(ALL))
    assert ((times - ALL) / ALL).abs().max() < 1e-12
    assert any_schedule.time(any_schedule.log_snr(column(0.0))).item() == 0
    assert any_schedule.time(any_schedule.log_snr(column(1.0))).item() == pytest.approx(1, rel=1e-12)


def test_time_gives_a_time_of_the_requested_log_snr(any_schedule):
    t = levels(any_schedule, 101)
    reached = any_schedule.log_snr(t)
    wanted = torch.linspace(20, reached[-1].item(), 101, dtype=F64)
    torch.testing.assert_close(reached, wanted, rtol=0, atol=1e-10)


def test_shift_multiplies_the_noise_to_signal_ratio():
    plain, t = schedule.Straight(), ALL
    for shift in (0.25, 1.0, 3.0, 17.0):
        shifted = schedule.Straight(shift)
        ratio = (shifted.sigma(t) / shifted.alpha(t)) / (plain.sigma(t) / plain.alpha(t))
        torch.testing.assert_close(ratio, torch.full_like(ratio, shift), rtol=1e-12, atol=0)
        total = shifted.alpha(t) + shifted.sigma(t)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-15)


def test_results_keep_shape_and_dtype_of_the_times(any_schedule):
    for shape in [(), (3,), (2, 3)]:
        t = torch.full(shape, 0.3, dtype=F64)
        for value in (any_schedule.alpha, any_schedule.sigma, any_schedule.log_snr, any_schedule.log_snr_rate):
            assert value(t).shape == shape
            assert value(t).dtype == F64


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda bad: schedule.Exponential(rate=bad),
        lambda bad: schedule.LinearBeta(beta_min=bad),
        lambda bad: schedule.LinearBeta(beta_max=bad),
        lambda bad: schedule.VarianceExploding(sigma_min=bad),
        lambda bad: schedule.VarianceExploding(sigma_max=bad),
        lambda bad: schedule.Straight(shift=bad),
    ],
)
def test_parameters_that_are_not_positive_are_refused(make, bad):
    with pytest.raises(UsageError, match="positive number"):
        make(bad)


def test_sigma_min_above_sigma_max_is_refused():
    with pytest.raises(UsageError, match="smaller"):
        schedule.VarianceExploding(80.0, 0.002)
