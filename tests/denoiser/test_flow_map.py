"""FlowMap: the module with a network set by hand is the average velocity, and the limits of a jump are right."""

import json

import numpy as np
import pytest
import torch
from conformance.subjects import F64, column, usable
from sampler.flows import ExactFlowMap
from torch import nn

from unmelt import UsageError, config, schedule
from unmelt.backbone import MLP
from unmelt.denoiser import FlowMap, prediction
from unmelt.denoiser.precondition import noise_level
from unmelt.process import Gaussian

LEGENDRE = [torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(40)]
T, S = column(1.0, 0.8, 0.5, 0.9), column(0.6, 0.0, 0.5, 0.2)


def points():
    return torch.randn(len(T), 3, dtype=F64, generator=torch.Generator().manual_seed(0))


class ByHand(nn.Module):
    """A network whose output is set: what it must be for the flow map to be an exact one. It checks its inputs."""

    def __init__(self, exact, by, t, s, x_t, data_sd=1.0):
        super().__init__()
        self.exact, self.by, self.t, self.s, self.x_t, self.data_sd = exact, by, t, s, x_t, data_sd

    def forward(self, x, level, condition=None, arrival=None):
        process = self.exact.process
        torch.testing.assert_close(level, noise_level(process.level(self.t), F64))
        torch.testing.assert_close(arrival, noise_level(process.level(self.s), F64))
        alpha, sigma = process.level(self.t)
        torch.testing.assert_close(x, self.x_t / torch.sqrt((alpha * self.data_sd) ** 2 + sigma**2)[:, None])
        belief = self.exact.jump(self.x_t, self.t, self.s).mean
        return self.by.output(belief, self.x_t, self.t, process)


def test_a_network_set_by_hand_gives_the_exact_flow_map(any_schedule):
    exact, x_t = ExactFlowMap(any_schedule), points()
    for by in usable(any_schedule):
        model = FlowMap(ByHand(exact, by, T, S, x_t, 1.7), exact.process, by, (3,), data_sd=1.7)
        x_s = exact.process.ode_step(x_t, model.jump(x_t, T, S).mean, T, S)
        torch.testing.assert_close(x_s, exact.flow(x_t, T, S), rtol=1e-9, atol=1e-9)


def test_the_network_is_the_average_velocity_on_a_straight_schedule():
    """V = 1 / (t - s) integral of the velocity along the path, by Gauss-Legendre quadrature of the exact flow."""
    on, x_t = schedule.Straight(), points()
    exact = ExactFlowMap(on)
    t, s = column(0.9, 0.8, 0.5, 0.7), column(0.3, 0.1, 0.4, 0.2)
    wanted = torch.zeros_like(x_t)
    for node, weight in zip(*LEGENDRE, strict=True):
        r = s + (t - s) * (node + 1) / 2
        x_r = exact.flow(x_t, t, r)
        wanted += weight / 2 * (x_r - exact(x_r, r).mean) / r[:, None]

    class Average(nn.Module):
        def forward(self, x, level, condition=None, arrival=None):
            return wanted

    model = FlowMap(Average(), Gaussian(on), prediction.FlowVelocity(), (3,))
    x_s = model.process.ode_step(x_t, model.jump(x_t, t, s).mean, t, s)
    torch.testing.assert_close(x_s, x_t - (t - s)[:, None] * wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x_s, exact.flow(x_t, t, s), rtol=1e-9, atol=1e-9)


def learned(**arguments):
    torch.manual_seed(0)
    backbone = MLP(shape=(3,), width=16, depth=2, with_arrival=True)
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.2)
    return FlowMap(backbone, Gaussian(schedule.Cosine()), prediction.V(), (3,), **arguments).double()


def test_a_jump_of_no_length_is_the_belief_and_changes_nothing():
    model, x_t = learned(), points()
    assert torch.equal(model(x_t, T).mean, model.jump(x_t, T, T).mean)
    assert torch.equal(model.process.ode_step(x_t, model.jump(x_t, T, T).mean, T, T), x_t)


def test_a_jump_to_0_is_the_consistency_function():
    model, x_t = learned(), points()
    zero = torch.zeros_like(T)
    belief = model.jump(x_t, T, zero).mean
    assert torch.equal(model.process.ode_step(x_t, belief, T, zero), belief)


def test_a_jump_is_differentiated_in_forward_mode():
    """d/dt of the average velocity along the path, as MeanFlow's objective takes it."""
    model, x_t = learned(), points()
    t, s, dx = column(0.9, 0.8, 0.6, 0.7), column(0.3, 0.1, 0.4, 0.2), points().flip(0)

    def at(x, t, s):
        return model.jump(x, t, s).mean

    _, slope = torch.func.jvp(at, (x_t, t, s), (dx, torch.ones_like(t), torch.zeros_like(s)))
    h = 1e-6
    with torch.no_grad():
        wanted = (at(x_t + h * dx, t + h, s) - at(x_t - h * dx, t - h, s)) / (2 * h)
    torch.testing.assert_close(slope, wanted, rtol=1e-5, atol=1e-6)


def test_a_flow_map_is_described_and_built_again():
    model, x_t = learned(), points()
    again = config.build(json.loads(json.dumps(config.describe(model)))).double()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.jump(x_t, T, S).mean, model.jump(x_t, T, S).mean)


def test_what_cannot_be_a_flow_map_is_refused():
    process = Gaussian(schedule.Cosine())
    with pytest.raises(UsageError, match=r"MLP\(with_arrival=True\)"):
        FlowMap(MLP(shape=(3,), width=8, depth=1), process, prediction.V(), (3,))
    with pytest.raises(UsageError, match="no signal left"):
        FlowMap(MLP(shape=(3,), width=8, depth=1, with_arrival=True), process, prediction.Noise(), (3,))
