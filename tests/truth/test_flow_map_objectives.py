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
