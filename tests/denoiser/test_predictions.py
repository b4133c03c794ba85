"""noise, x0, v, score, velocity and F are one thing."""

import pytest
import torch
from conformance.subjects import (
    F64,
    PREDICTIONS,
    Through,
    column,
    full,
    levels,
    ring,
    run,
    unchecked,
    usable,
)
from torch import nn

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.denoiser import Network
from unmelt.denoiser.precondition import EDGE
from unmelt.denoiser.prediction import FlowVelocity, V
from unmelt.errors import UsageError
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds
from unmelt.sampler import DPMpp, Heun, grid, sample


def closed_form(prediction, x0, noise, t, on):
    """What each network is trained to say when x0 and the noise are known, written out anew."""
    alpha, sigma = on.alpha(t)[:, None], on.sigma(t)[:, None]
    match type(prediction).__name__:
        case "X0":
            return x0
        case "Noise":
            return noise
        case "V":
            return alpha * noise - sigma * x0
        case "Score":
            x_t = (alpha * x0 + sigma * noise).requires_grad_()
            log_q = -((x_t - alpha * x0) ** 2 / sigma**2).sum() / 2
            return torch.autograd.grad(log_q, x_t)[0]
        case "FlowVelocity":
            return None
        case "Preconditioned":  # Karras et al., 2022, equation 8, for x / alpha at noise sigma / alpha
            ratio, sd = sigma / alpha, prediction.data_sd
            skip, out = sd**2 / (ratio**2 + sd**2), ratio * sd / torch.sqrt(ratio**2 + sd**2)
            return (x0 - skip * (x0 + ratio * noise)) / out
    return pytest.fail(f"state the closed form of {prediction!r} here")


def test_every_conversion_and_back(any_schedule, any_prediction):
    process, t = Gaussian(any_schedule), levels(any_schedule, 81, widest=9.0)
    rng = torch.Generator().manual_seed(1)
    x0, noise = (torch.randn(len(t), 3, dtype=F64, generator=rng) for _ in range(2))
    x_t = process.mix(x0, noise, t)
    said = any_prediction.output(x0, x_t, t, process)
    mean = any_prediction.mean(said, x_t, t, process)
    for other in PREDICTIONS:
        again = other.mean(other.output(mean, x_t, t, process), x_t, t, process)
        back = any_prediction.output(again, x_t, t, process)
        assert ((again - x0).norm(dim=1) / x0.norm(dim=1)).max() < 1e-10
        assert ((back - said).norm(dim=1) / said.norm(dim=1)).max() < 1e-10


def test_conversions_are_finite_near_both_ends_of_time(any_schedule, any_prediction):
    """At t = 0 the belief is x_t itself where the output is finite; at t = 1 it is finite where it is defined."""
    process, x = Gaussian(any_schedule), torch.randn(4, 3, dtype=F64)
    if type(any_prediction).__name__ != "X0":
        torch.testing.assert_close(any_prediction.mean(torch.randn_like(x), x, full(4, 0.0), process), x)
        mean = any_prediction.mean(torch.randn_like(x), x, full(4, 1e-14), process)
        assert (mean - x).abs().max() < 1e-4
    if any_prediction in usable(any_schedule):
        said = any_prediction.output(torch.ones_like(x), x, full(4, 1.0), process)
        back = any_prediction.mean(said, x, full(4, 1.0), process)
        torch.testing.assert_close(back, torch.ones_like(x), rtol=1e-6, atol=1e-6)


def test_output_at_the_truth_is_the_training_target(any_schedule, any_prediction):
    process, t = Gaussian(any_schedule), levels(any_schedule, 25, widest=5.0)
    x0, noise = torch.randn(len(t), 2, dtype=F64), torch.randn(len(t), 2, dtype=F64)
    said = any_prediction.output(x0, process.mix(x0, noise, t), t, process)
    if isinstance(any_prediction, FlowVelocity):
        h = torch.minimum(t, 1 - t) * 1e-4
        keep = h > 0
        ahead, behind = process.mix(x0, noise, t + h), process.mix(x0, noise, t - h)
        slope = (ahead - behind) / (2 * h[:, None])
        torch.testing.assert_close(said[keep], slope[keep], rtol=2e-6, atol=1e-6)
    else:
        wanted = closed_form(any_prediction, x0, noise, t, any_schedule)
        torch.testing.assert_close(said, wanted, rtol=1e-9, atol=1e-9)


def test_gain_is_the_measured_derivative(any_schedule, any_prediction):
    process, t = Gaussian(any_schedule), levels(any_schedule, 31, widest=6.0)
    x_t, mean = torch.randn(len(t), 1, dtype=F64), torch.randn(len(t), 1, dtype=F64, requires_grad=True)
    said = any_prediction.output(mean, x_t, t, process)
    (derivative,) = torch.autograd.grad(said.sum(), mean)
    torch.testing.assert_close(any_prediction.gain(t, any_schedule), derivative[:, 0].abs(), rtol=1e-11, atol=0)


def test_the_same_function_gives_the_same_sample(any_schedule, any_prediction):
    """From the last time at which every prediction is defined, down to exactly 0."""
    exact = ring(any_schedule)
    times = torch.cat([levels(any_schedule, 6, widest=3.5).flip(0), column(0.0)])
    x = any_schedule.sigma(times[0]) * RowSeeds.of(0, 16).normal((16, 2), F64)
    for sampler in (DPMpp(2), Heun()):
        with unchecked():
            plain = run(sampler, exact, x, times).x
            spoken = run(sampler, Through(exact, any_prediction), x, times).x
        assert (spoken - plain).abs().max() < 1e-9


def test_every_prediction_samples_from_pure_noise_to_data(any_schedule, any_prediction):
    if any_prediction not in usable(any_schedule):
        pytest.skip("refused at t = 1, where no signal is left")
    settings = {"rows": 8, "sampler": DPMpp(2), "grid": grid.karras(6), "dtype": F64}
    with unchecked():
        plain = sample(ring(any_schedule), **settings)
        spoken = sample(Through(ring(any_schedule), any_prediction), **settings)
    assert (spoken - plain).abs().max() < 1e-7


class Echo(nn.Module):
    """Remembers what it is shown and says it again."""

    def forward(self, x, level, condition=None):
        self.seen = (x, level, condition)
        return x


def test_the_backbone_is_given_inputs_of_unit_size_and_a_noise_level(any_schedule):
    process, rows = Gaussian(any_schedule), 20_000
    echo = Echo()
    network = Network(echo, process, V(), shape=(2,), data_sd=1.7)
    for t in (0.0, 0.01, 0.5, 1.0):
        x0 = 1.7 * torch.randn(rows, 2)
        x_t = process.mix(x0, torch.randn(rows, 2), full(rows, t))
        condition = Condition(label=torch.zeros(rows, dtype=torch.int64))
        belief = network(x_t, full(rows, t), condition)
        shown, level, told = echo.seen
        assert shown.var().item() == pytest.approx(1, abs=0.06)
        assert torch.isfinite(level).all()
        assert level.dtype == shown.dtype == belief.mean.dtype == torch.float32
        assert told is condition
        torch.testing.assert_close(belief.mean, V().mean(shown, x_t, full(rows, t), process))
    t = column(0.2, 0.7)
    network(torch.zeros(2, 2), t)
    ratio = any_schedule.sigma(t) / any_schedule.alpha(t)
    wanted = torch.log(ratio).clamp_max(EDGE) / 4  # Karras et al., 2022, table 1
    torch.testing.assert_close(echo.seen[1].double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("on", [schedule.Cosine(), schedule.Straight()], ids=repr)
def test_a_prediction_without_x0_at_pure_noise_is_refused(on):
    for prediction in PREDICTIONS:
        if prediction in usable(on):
            Network(Echo(), Gaussian(on), prediction, shape=(2,))
        else:
            with pytest.raises(UsageError, match="no signal left"):
                Network(Echo(), Gaussian(on), prediction, shape=(2,))
