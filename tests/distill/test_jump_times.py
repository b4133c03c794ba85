"""Which jumps are practised, how their errors are weighed, and the coordinate that both are stated in."""

import pytest
import torch
from conformance.subjects import F64

from unmelt import UsageError, schedule
from unmelt.distill import JumpTimes
from unmelt.distill.adaptive_loss import adaptive_loss
from unmelt.distill.straight_path import schedule_time, straight_time
from unmelt.objective import LogNormalSigma, Stratified, Uniform
from unmelt.process import Gaussian
from unmelt.rng import Part, Stream

CPU, ROWS = torch.device("cpu"), 20_000


def near(found, wanted):
    assert found.item() == pytest.approx(wanted, abs=4 * (max(wanted * (1 - wanted), 1e-4) / ROWS) ** 0.5)


def test_the_shares_of_jumps_are_those_that_were_asked_for(any_schedule):
    process = Gaussian(any_schedule)
    times = JumpTimes(times=Uniform(), from_noise=0.3, to_data=0.15, still=0.25)
    t, s = times.draw(ROWS, process, Stream(0), CPU)
    assert ((s >= 0) & (s <= t) & (t > 0) & (t <= 1)).all()
    near((t == 1).double().mean(), 0.3)
    near((s == 0).double().mean(), 0.15)
    near((s == t).double().mean(), 0.25)
    near(((s == 0) & (t == 1)).double().mean(), 0.3 * 0.15)
    near(((s == t) & (t == 1)).double().mean(), 0.3 * 0.25)
    near((t[t < 1] < 0.4).double().mean(), 0.4)
    moved = (s > 0) & (s < t)
    share = straight_time(process, s[moved]) / straight_time(process, t[moved])
    for quantile in (0.1, 0.5, 0.8):
        near((share < quantile).double().mean(), quantile)


def test_a_divided_batch_has_the_jumps_of_the_whole(any_schedule):
    process, times = Gaussian(any_schedule), JumpTimes(times=Stratified(LogNormalSigma(0.0, 1.0)))
    t, s = times.draw(12, process, Stream(3), CPU)
    for part in range(3):
        for one, whole in zip(times.draw(4, process, Part(Stream(3), part, 3), CPU), (t, s), strict=True):
            # to rounding: processors round logarithms at the end of a tensor otherwise than within
            torch.testing.assert_close(one, whole[4 * part : 4 * part + 4], rtol=1e-12, atol=1e-15)


def test_shares_that_are_none_are_refused():
    with pytest.raises(UsageError, match=r"to_data=0.6, still=0.5.*at most 1 together"):
        JumpTimes(to_data=0.6, still=0.5)
    with pytest.raises(UsageError, match=r"from_noise=-0.1"):
        JumpTimes(from_noise=-0.1)


def test_the_straight_coordinate_is_the_share_of_noise_and_is_inverted(any_schedule):
    process, t = Gaussian(any_schedule), torch.linspace(0, 1, 33, dtype=F64)
    alpha, sigma = any_schedule.alpha(t), any_schedule.sigma(t)
    torch.testing.assert_close(straight_time(process, t), sigma / (alpha + sigma))
    torch.testing.assert_close(schedule_time(process, straight_time(process, t[:-1])), t[:-1], rtol=1e-6, atol=1e-6)
    assert schedule_time(process, torch.zeros(1, dtype=F64)) == 0
    assert torch.equal(straight_time(Gaussian(schedule.Straight()), t), t)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_adaptive_loss_weighs_rows_by_a_constant(power):
    error = torch.randn(5, 2, 3, dtype=F64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = adaptive_loss(error, power, floor=0.3)
    square = error.detach().square().sum((1, 2)) / 6
    torch.testing.assert_close(loss.detach(), square / (square + 0.3) ** power)
    (gradient,) = torch.autograd.grad(loss.sum(), error)
    torch.testing.assert_close(gradient, 2 * error.detach() / 6 / (square + 0.3)[:, None, None] ** power)
    assert adaptive_loss(error.bfloat16(), power).dtype == torch.float32
