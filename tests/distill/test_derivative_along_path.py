"""The derivative of a flow map along the path, against differences, for every network that takes an arrival level."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from backbone.networks import NETWORKS, ROWS, SHAPES, awake, condition
from conformance.subjects import F64, SCHEDULES, full, usable
from conformance.subjects import name as name_of

from unmelt import schedule
from unmelt.backbone import MLP
from unmelt.backbone.embed import LevelEmbedding
from unmelt.condition import Condition
from unmelt.denoiser import FlowMap, GaussianMixtureDenoiser, NetworkDenoiser, ResidualFlowMap, prediction
from unmelt.distill.straight_path import derivative_along_path, schedule_time
from unmelt.distill.student import flow_map_of
from unmelt.process import Gaussian

every = pytest.mark.parametrize("name", NETWORKS)


def network(name, **more):
    plain = NETWORKS[name]()
    arguments = {key: getattr(plain, key) for key in inspect.signature(type(plain)).parameters}
    torch.manual_seed(0)
    return awake(type(plain)(**arguments | more))


def flow_map(name, on=None, by=None):
    on, by = on or schedule.VarianceExploding(0.02, 80.0), by or prediction.Preconditioned(0.7)
    return FlowMap(network(name, with_arrival=True), Gaussian(on), by, SHAPES[name], data_sd=0.7)


def small(on, by):
    torch.manual_seed(0)
    return FlowMap(awake(MLP(shape=(3,), width=16, depth=2, with_arrival=True)), Gaussian(on), by, (3,)).double()


def residual(on):
    """A correction of a mixture that is fitted to something."""
    base = GaussianMixtureDenoiser(Gaussian(on), (2, 3), classes=3, components=2)
    base.fit(torch.randn(60, 2, 3, generator=torch.Generator().manual_seed(0)).double(), torch.arange(60) % 3)
    torch.manual_seed(0)
    backbone = awake(MLP(shape=(4, 3), width=16, depth=2, classes=3, with_arrival=True))
    return ResidualFlowMap(backbone, base, data_sd=0.9, residual_sd=0.4).double()


def points(model, dtype=F64, seed=1):
    """x_t, t, s and what is believed there."""
    rng, process = torch.Generator().manual_seed(seed), model.process
    u = torch.linspace(0.03, 0.9, ROWS, dtype=F64)
    t = schedule_time(process, u)
    s = schedule_time(process, u * torch.linspace(0.0, 0.9, ROWS, dtype=F64))
    alpha, sigma = (each.view(-1, *[1] * len(model.shape)) for each in process.level(t))
    x0, noise, mean = (torch.randn(ROWS, *model.shape, dtype=F64, generator=rng) for _ in range(3))
    return (alpha * x0 + sigma * noise).to(dtype), t, s, mean.to(dtype)


def differences(model, x_t, t, s, known, mean, h=1e-5):
    """The central difference of the belief between two points of the path, a straight line in straight coordinates."""
    process = model.process
    w, u = process.straight_coordinates(x_t, t)

    def at(step):
        there = schedule_time(process, u + step)
        alpha, sigma = process.level(there)
        column = [-1, *[1] * (x_t.ndim - 1)]
        x = (alpha + sigma).view(column) * (w + step * (w - mean) / u.view(column))
        return model.jump(x, there, s, known).mean

    with torch.no_grad():
        return (at(h) - at(-h)) / (2 * h)


def check(model, known=None):
    x_t, t, s, mean = points(model)
    belief, slope = derivative_along_path(model, x_t, t, s, known, mean)
    assert not slope.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(belief, model.jump(x_t, t, s, known).mean, rtol=1e-9, atol=1e-11)
    wanted = differences(model, x_t, t, s, known, mean)
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(slope, wanted, rtol=2e-5, atol=2e-6)


def wide(known):
    return known._each(lambda value: value.double() if value.is_floating_point() else value)


@every
def test_the_derivative_is_a_difference_for_every_network(name):
    check(flow_map(name).double(), wide(condition(name)))


@pytest.mark.parametrize("on", SCHEDULES, ids=name_of)
def test_the_derivative_is_a_difference_on_every_schedule_with_every_prediction(on):
    for by in usable(on):
        check(small(on, by))


@pytest.mark.parametrize("on", [schedule.Straight(), schedule.VarianceExploding(0.02, 80.0)], ids=name_of)
def test_the_derivative_is_a_difference_for_a_residual_flow_map(on):
    check(residual(on), Condition(label=torch.arange(ROWS) % 3))


@pytest.mark.parametrize("on", SCHEDULES, ids=name_of)
def test_the_derivative_at_pure_noise_is_finite_and_a_difference_from_below(on):
    """Levels beyond `precondition.EDGE` are all the same to a network: there a schedule without signal ends."""
    model, h = small(on, prediction.Preconditioned(0.7)), 1e-6
    x_t, _, _, mean = points(model)
    t, s = full(ROWS, 1.0), full(ROWS, 0.3)
    x_t = x_t / x_t.std() * on.sigma(t[:1])
    _, slope = derivative_along_path(model, x_t, t, s, None, mean)
    assert slope.isfinite().all()
    w, u = model.process.straight_coordinates(x_t, t)

    def below(step):
        there = schedule_time(model.process, u - step)
        alpha, sigma = model.process.level(there)
        return model.jump((alpha + sigma)[:, None] * (w - step * (w - mean) / u[:, None]), there, s).mean

    with torch.no_grad():
        wanted = (3 * model.jump(x_t, t, s).mean - 4 * below(h) + below(2 * h)) / (2 * h)
    torch.testing.assert_close(slope, wanted, rtol=1e-3, atol=1e-4)


@every
def test_autocast_changes_neither_the_belief_nor_its_derivative_nor_its_gradient(name):
    model, known = flow_map(name), condition(name)
    x_t, t, s, mean = points(model, torch.float32)

    belief, slope = derivative_along_path(model, x_t, t, s, known, mean)
    with torch.autocast("cpu", torch.bfloat16):
        again, slope_again = derivative_along_path(model, x_t, t, s, known, mean)
        assert not torch.equal(model.jump(x_t, t, s, known).mean, again)  # autocast is on around it
    assert torch.equal(belief, again)
    assert torch.equal(slope, slope_again)
    assert slope.dtype == torch.float32
    for one, other in zip(gradients(model, belief), gradients(model, again), strict=True):
        assert torch.equal(one, other)


@every
def test_the_belief_has_the_gradients_of_a_jump(name):
    model, known = flow_map(name).double(), wide(condition(name))
    x_t, t, s, mean = points(model)
    belief, _ = derivative_along_path(model, x_t, t, s, known, mean)
    for one, other in zip(gradients(model, belief), gradients(model, model.jump(x_t, t, s, known).mean), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def gradients(model, belief):
    found = torch.autograd.grad(belief.square().sum(), list(model.parameters()), allow_unused=True)
    return [torch.zeros(1) if each is None else each for each in found]


@pytest.mark.parametrize("name", ["dit-1d", "dit-2d", "unet-2d", "frames"])
def test_fused_attention_is_not_called_in_forward_mode(name, monkeypatch):
    model, known, calls = flow_map(name), condition(name), []

    def fused(*given, **more):
        calls.append(given)
        return whole(*given, **more)

    whole = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    x_t, t, s, mean = points(model, torch.float32)
    model.jump(x_t, t, s, known)
    assert calls
    calls.clear()
    belief, _ = derivative_along_path(model, x_t, t, s, known, mean)
    assert not calls
    torch.testing.assert_close(belief, model.jump(x_t, t, s, known).mean, rtol=1e-4, atol=1e-5)


@every
def test_levels_are_embedded_in_float32_under_autocast_and_in_half_precision(name):
    """The waves of a level are computed in float32, and rounded once where the network is in half precision."""
    model, known = flow_map(name), condition(name)
    x_t, t, s, _ = points(model, torch.float32)
    seen = []
    for module in model.modules():
        if isinstance(module, LevelEmbedding):
            module.register_forward_hook(lambda module, given, out: seen.append((given[0], out)))

    def waves():
        seen.clear()
        with torch.no_grad():
            model.jump(x_t, t, s, known)
        assert len(seen) == 2 + (name == "frames-mlp")  # of t and of s, and of the time of each frame
        return [given for given, _ in seen], [out for _, out in seen]

    levels, exact = waves()
    with torch.autocast("cpu", torch.bfloat16):
        for one, other in zip(exact, waves()[1], strict=True):
            assert other.dtype == torch.float32
            assert torch.equal(one, other)
    if name == "unet-3d":
        return  # torch has no pooling of three dimensions in half precision on a processor
    for dtype in (torch.bfloat16, torch.float16):
        model.to(dtype)
        given, out = waves()
        for level, one, other, rounded in zip(levels, given, exact, out, strict=True):
            assert one.dtype == torch.float32
            assert torch.equal(level, one)
            assert torch.equal(other.to(dtype), rounded)


def test_a_network_in_half_precision_has_nearly_the_derivative_of_the_same_in_single():
    model, known = flow_map("dit-2d"), condition("dit-2d")
    x_t, t, s, mean = points(model, torch.float32)
    belief, slope = derivative_along_path(model, x_t, t, s, known, mean)
    rough, half = derivative_along_path(model.bfloat16(), x_t, t, s, known, mean)
    assert rough.dtype == half.dtype == torch.float32
    assert (half - slope).square().mean() < 0.1**2 * slope.square().mean()
    assert (rough - belief).square().mean() < 0.1**2 * belief.square().mean()


@every
@pytest.mark.parametrize("guidance_range", [None, (1.0, 4.0)])
def test_a_student_begins_as_its_teacher(name, guidance_range):
    denoiser = NetworkDenoiser(network(name), Gaussian(schedule.Cosine()), prediction.V(), SHAPES[name])
    student = flow_map_of(denoiser, guidance_range, is_denoiser=True).eval()
    x_t, t, s, _ = points(student, torch.float32)
    with torch.no_grad():
        wanted = denoiser(x_t, t, condition(name)).mean
        torch.testing.assert_close(student.jump(x_t, t, s, condition(name)).mean, wanted)
