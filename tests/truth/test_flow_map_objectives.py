"""The exact flow map is a stationary point of every flow-map objective, and it satisfies their identities.

The exact map is that of a Gaussian, in closed form on every schedule, or that of a mixture, by a fine solution of its
ODE. A trainable term A features(x_t, t, s) is added to it: at A = 0 no loss has a gradient with respect to A.
"""

import pytest
import torch
from conformance.subjects import F64, unchecked
from sampler.flows import ExactFlowMap
from truth.exact_flows import Learnable, MixtureFlowMap, smooth_mixture

import unmelt as um
from unmelt import schedule
from unmelt.distill.consistency import earlier
from unmelt.distill.shortcut import two_half_jumps
from unmelt.distill.straight_path import schedule_time
from unmelt.rng import Stream

ROWS = 24
ONTO = [schedule.Straight(), schedule.VarianceExploding(0.02, 80.0), schedule.Cosine(), schedule.LinearBeta(0.1, 20.0)]
GAUSSIANS = {f"gaussian-{type(on).__name__}": ExactFlowMap(on) for on in ONTO}
MIXTURES = {f"mixture-{type(on).__name__}": MixtureFlowMap(smooth_mixture(on)) for on in ONTO[:2]}


@pytest.fixture(params=GAUSSIANS.values(), ids=GAUSSIANS.keys())
def gaussian(request):
    return request.param


@pytest.fixture(params=(GAUSSIANS | MIXTURES).values(), ids=(GAUSSIANS | MIXTURES).keys())
def exact(request):
    return request.param


def jumps(exact):
    """Points at time t, with arrivals: some at 0, some at t itself."""
    seeded = torch.Generator().manual_seed(0)
    on, rows = exact.process.schedule, ROWS
    t = on.time(-2 * torch.linspace(-2.5, 2.5, rows, dtype=F64)).clamp_max(1)
    t[-1] = 1.0
    s = t * torch.rand(rows, dtype=F64, generator=seeded)
    s[::3], s[1::5] = 0.0, t[1::5]
    x0 = exact.denoiser.sample(rows, Stream(0), F64)
    x_t = exact.process.mix(x0, torch.randn(x0.shape, dtype=F64, generator=seeded), t)
    return x_t, t, s


@pytest.fixture(autouse=True)
def without_checks_of_shapes():
    with unchecked():
        yield


def moved(exact, x_t, t, s):
    return exact.process.ode_step(x_t, exact.jump(x_t, t, s).mean, t, s)


def mean_flow(student, exact, power=0.5):
    x_t, t, s = jumps(exact)
    belief = exact(x_t, t).mean
    return um.distill.MeanFlow(power=power).row_loss(student, x_t, t, s, None, belief, belief)


def consistency(student, exact, power=0.5, gap=0.3):
    x_t, t, _ = jumps(exact)
    r = earlier(exact.process, t, gap)
    r[::4] = 0.0
    return um.distill.Consistency(power=power).row_loss(student, x_t, t, moved(exact, x_t, t, r), r, None)


def continuous_consistency(student, exact, strength=1.0):
    x_t, t, _ = jumps(exact)
    return um.distill.ContinuousConsistency().row_loss(student, x_t, t, None, exact(x_t, t).mean, strength)


def shortcut(student, exact, power=0.5):
    x_t, t, s = jumps(exact)
    return um.distill.Shortcut(power=power).row_loss(student, student, x_t, t, s, None, exact(x_t, t).mean)


LOSSES = [mean_flow, consistency, continuous_consistency, shortcut]


def gradient(student, loss):
    (found,) = torch.autograd.grad(loss.mean(), student.weight)
    return found.abs().max().item()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_exact_flow_map_is_a_stationary_point(exact, loss):
    student = Learnable(exact, exact.shape[0])
    losses = loss(student, exact)
    assert losses.shape == (ROWS,)
    assert losses.max() < 1e-13
    assert gradient(student, losses) < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_another_flow_map_is_no_stationary_point(gaussian, loss):
    student = Learnable(gaussian, 3)
    with torch.no_grad():
        student.weight.copy_(0.1 * torch.randn(student.weight.shape, generator=torch.Generator().manual_seed(1)))
    assert gradient(student, loss(student, gaussian)) > 1e-2


def along(exact, x_t, t, belief, change):
    """The point of the path through x_t whose share of noise is larger by `change`: (x, time), to second order."""
    process = exact.process
    w, u = process.straight_coordinates(x_t, t)
    there = schedule_time(process, u + change)
    alpha, sigma = process.level(there)
    return (alpha + sigma)[:, None] * (w + change * (w - belief) / u[:, None]), there


def test_the_exact_flow_map_has_the_identities_of_mean_flow_and_consistency(exact):
    """V + (u_t - u_s) dV/du_t = v, and dD/du_t = 0 at s = 0, by differences along the path."""
    x_t, t, s = jumps(exact)
    inner = t < 0.99
    x_t, t, s, zero, h = x_t[inner], t[inner], s[inner], torch.zeros_like(t[inner]), 1e-4
    belief = exact(x_t, t).mean
    (w, u), (_, u_s) = (exact.process.straight_coordinates(x_t, each) for each in (t, s))
    points = [along(exact, x_t, t, belief, change) for change in (h, -h)]

    def average(x, time):
        w, u = exact.process.straight_coordinates(x, time)
        return (w - exact.jump(x, time, s).mean) / u[:, None]

    slope = (average(*points[0]) - average(*points[1])) / (2 * h)
    velocity = (w - belief) / u[:, None]
    torch.testing.assert_close(average(x_t, t) + (u - u_s)[:, None] * slope, velocity, rtol=1e-4, atol=2e-4)
    ends = [exact.jump(x, time, zero).mean for x, time in points]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-6)
    assert (average(x_t, t) - velocity).abs().max() > 0.1


def test_a_step_of_the_teacher_leaves_the_path_by_an_error_of_second_order_in_the_gap(gaussian):
    """What consistency distillation is wrong by, at a gap that is not small."""
    x_t, t, _ = jumps(gaussian)
    errors = []
    for gap in (1e-2, 5e-3):
        r = earlier(gaussian.process, t, gap)
        x_r = gaussian.process.ode_step(x_t, gaussian(x_t, t).mean, t, r)
        w, _ = gaussian.process.straight_coordinates(x_r - moved(gaussian, x_t, t, r), r)
        errors.append(w.abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


class Denoises:
    """A flow map whose every jump is made with the belief of the exact denoiser."""

    def __init__(self, exact):
        self.exact, self.process, self.shape = exact, exact.process, exact.shape

    def jump(self, x_t, t, s, condition=None):
        return self.exact(x_t, t, condition)


def test_at_first_the_exact_denoiser_is_a_stationary_point_of_consistency(gaussian):
    """The warm-up of continuous consistency and the widest gap of the discrete one have diffusion's solution."""
    student = Learnable(Denoises(gaussian), 3)
    assert gradient(student, continuous_consistency(student, gaussian, strength=0.0)) < 1e-10
    assert gradient(student, continuous_consistency(student, gaussian, strength=1.0)) > 1e-2
    x_t, t, _ = jumps(gaussian)
    r = earlier(gaussian.process, t, 1.0)
    x_r = gaussian.process.ode_step(x_t, gaussian(x_t, t).mean, t, r)
    assert gradient(student, um.distill.Consistency().row_loss(student, x_t, t, x_r, r, None)) < 1e-10


def test_two_half_jumps_of_the_exact_flow_map_are_the_whole_one(exact):
    x_t, t, s = jumps(exact)
    torch.testing.assert_close(two_half_jumps(exact, x_t, t, s, None), exact.jump(x_t, t, s).mean, rtol=1e-7, atol=1e-7)
