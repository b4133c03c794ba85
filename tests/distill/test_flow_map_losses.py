"""What each flow-map method aims at: the points, targets and weights of its loss, written out anew."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from conformance.subjects import F64, column, unchecked
from sampler.flows import ExactFlowMap
from truth.exact_flows import Learnable, smooth_mixture

import unmelt as um
from unmelt import schedule
from unmelt.distill import Consistency, ContinuousConsistency, MeanFlow, Setup, Shortcut
from unmelt.distill.consistency import earlier
from unmelt.distill.mean_flow import own_beliefs
from unmelt.distill.shortcut import two_half_jumps
from unmelt.posterior import Point
from unmelt.rng import Stream
from unmelt.train import Training
from unmelt.train.step import Batch

ON = schedule.VarianceExploding(0.02, 80.0)
ROWS = 12
LABELS = torch.arange(ROWS) % 2


@pytest.fixture(autouse=True)
def without_checks_of_shapes():
    with unchecked():
        yield


class Student(torch.nn.Module):
    """No flow map of any process: its belief tells x, t and s apart, and is moved by scale times (1 + label)."""

    def __init__(self, on=ON):
        super().__init__()
        self.process, self.shape = um.process.Gaussian(on), (2,)
        self.weight = torch.nn.Parameter(torch.ones((), dtype=F64))

    def jump(self, x_t, t, s, condition=None):
        moved = torch.zeros(len(x_t), dtype=F64)
        if condition is not None and condition.label is not None:
            given = condition.is_given("label")
            moved = (1.0 + condition.label) * (1.0 if given is None else given)
            moved = moved * (1 if condition.guidance_scale is None else condition.guidance_scale)
        return Point(self.weight * (torch.tanh(x_t) + (0.3 * t + 0.1 * s + moved)[:, None]))

    def forward(self, x_t, t, condition=None):
        return self.jump(x_t, t, t, condition)


def setup(guidance_range=None, steps=100, drop=0.0):
    return Setup(
        teacher=smooth_mixture(ON),
        student=Student(),
        grid=um.grid.balanced(2),
        training=Training(steps=steps),
        guidance_range=guidance_range,
        drop=drop,
    )


def arguments(monkeypatch, method, step=0, guidance_range=None, seed=5, drop=0.0):
    """What a method's `row_loss` is given in a training step, and what it was given to make it of."""
    seen = {}
    names = [name for name in vars(type(method))["row_loss"].__annotations__ if name != "return"]

    def record(self, *given):
        seen.update(zip(names, given, strict=False))
        return torch.zeros(ROWS)

    monkeypatch.setattr(type(method), "row_loss", record)
    made = setup(guidance_range, drop=drop)
    x0 = made.teacher.sample(ROWS, Stream(1), F64)
    train_step = method.train_step(made)
    (phase,) = train_step.phases()
    phase.loss(Batch(x0, um.Condition(label=LABELS), step), Stream(seed))
    return SimpleNamespace(**seen, x0=x0, setup=made, train_step=train_step)


def u(t):
    """The noise's share on this schedule, whose alpha is 1."""
    sigma = ON.sigma(t)
    return sigma / (1 + sigma)


def noise_in(x_t, x0, t):
    return (x_t - x0) / ON.sigma(t)[:, None]


def teacher_belief(seen):
    return seen.setup.teacher(seen.x_t, seen.t, um.Condition(label=LABELS)).mean


METHODS = [Consistency, ContinuousConsistency, MeanFlow, Shortcut]


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("from_scratch", [False, True])
def test_data_are_melted_to_times_of_the_law(kind, from_scratch, monkeypatch):
    seen = arguments(monkeypatch, kind(from_scratch=from_scratch))
    noise = noise_in(seen.x_t, seen.x0, seen.t)
    assert 0.6 < noise.std() < 1.5
    assert noise.abs().max() < 5
    assert seen.student is seen.setup.student
    t, s = kind().times.draw(ROWS, seen.setup.student.process, Stream(5), torch.device("cpu"))
    assert torch.equal(seen.t, t)
    if kind in (MeanFlow, Shortcut):
        assert torch.equal(seen.s, s)
        assert (s == t).any()
        assert ((s > 0) & (s < t)).any()
    else:
        assert kind().times.to_data == 1


@pytest.mark.parametrize("step", [0, 10, 25, 50, 99])
@pytest.mark.parametrize("from_scratch", [False, True])
def test_consistency_compares_two_points_of_one_path(step, from_scratch, monkeypatch):
    method = Consistency(gap=1 / 16, easing=0.5, from_scratch=from_scratch)
    gap = {0: 1.0, 10: 16**-0.2, 25: 0.25, 50: 1 / 16, 99: 1 / 16}[step]
    seen = arguments(monkeypatch, method, step)
    torch.testing.assert_close(u(seen.r), (1 - gap) * u(seen.t), rtol=1e-9, atol=1e-12)
    if from_scratch:
        wanted = seen.x0 + ON.sigma(seen.r)[:, None] * noise_in(seen.x_t, seen.x0, seen.t)
    else:  # an Euler step of dw/du = (w - E) / u
        w, rate = seen.x_t * (1 - u(seen.t))[:, None], gap * u(seen.t)[:, None] / u(seen.t)[:, None]
        wanted = (w - rate * (w - teacher_belief(seen))) / (1 - u(seen.r))[:, None]
    torch.testing.assert_close(seen.x_r, wanted, rtol=1e-9, atol=1e-9)
    if step == 0:
        assert torch.equal(seen.r, torch.zeros_like(seen.r))
        torch.testing.assert_close(seen.x_r, seen.x0 if from_scratch else teacher_belief(seen))


def test_the_second_point_is_never_the_noisier_one(any_schedule):
    process = um.process.Gaussian(any_schedule)
    t = torch.linspace(0.01, 1, 50, dtype=F64)
    for gap in (1.0, 0.5, 1e-3, 1e-9):
        r = earlier(process, t, gap)
        assert (r <= t).all()
        level, at = process.level(r), process.level(t)
        share, of = level.sigma / (level.alpha + level.sigma), at.sigma / (at.alpha + at.sigma)
        torch.testing.assert_close(share, (1 - gap) * of, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_consistency_loss_is_the_slope_between_two_points(power):
    student, x_t, x_r = Student(), torch.randn(4, 2, dtype=F64), torch.randn(4, 2, dtype=F64)
    t, r, zero = column(1.0, 0.8, 0.5, 0.3), column(0.9, 0.0, 0.2, 0.29), torch.zeros(4, dtype=F64)
    known = um.Condition(label=torch.tensor([0, 1, 0, 1]))
    loss = Consistency(power=power).row_loss(student, x_t, t, x_r, r, known)
    wanted = student.jump(x_r, r, zero, known).mean
    wanted[1] = x_r[1]  # at time 0 the belief is the data themselves
    square = ((student.jump(x_t, t, zero, known).mean - wanted) / (u(t) - u(r))[:, None]).square().mean(1)
    torch.testing.assert_close(loss, square / (square + 1e-3) ** power)
    found = torch.autograd.grad(loss.sum(), student.weight)[0]
    error = (student.jump(x_t, t, zero, known).mean - wanted.detach()) / (u(t) - u(r))[:, None]
    pieces = 2 * error * student.jump(x_t, t, zero, known).mean / (u(t) - u(r))[:, None]  # the weight is 1
    torch.testing.assert_close(found, (pieces.mean(1) / (square + 1e-3) ** power).sum().detach())


@pytest.mark.parametrize(("step", "strength"), [(0, 0.0), (5, 0.2), (25, 1.0), (99, 1.0)])
@pytest.mark.parametrize("from_scratch", [False, True])
def test_continuous_consistency_is_directed_by_the_belief_and_warmed_up(step, strength, from_scratch, monkeypatch):
    seen = arguments(monkeypatch, ContinuousConsistency(warmup=0.25, from_scratch=from_scratch), step)
    torch.testing.assert_close(seen.direction, seen.x0 if from_scratch else teacher_belief(seen))
    assert seen.strength == pytest.approx(strength)
    assert ContinuousConsistency(warmup=0.0).strength_at(0, 100) == 1


def learned():
    """A flow map that is nearly exact, five points of it, and a direction of the path that is nearly the belief."""
    exact = ExactFlowMap(ON)
    student = Learnable(exact, 3)
    with torch.no_grad():
        student.weight.copy_(0.1 * torch.randn(student.weight.shape, generator=torch.Generator().manual_seed(1)))
    x_t = 3 * torch.randn(5, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    t = column(1.0, 0.8, 0.7, 0.5, 0.3)
    return student, x_t, t, exact(x_t, t).mean + 0.1


def slope_along(student, x_t, t, s, direction, h=1e-6):
    """dD/du by central differences along the path."""
    w, column_u = x_t * (1 - u(t))[:, None], u(t)[:, None]

    def at(change):
        there = column_u + change
        x = (w + change * (w - direction) / column_u) / (1 - there)
        times = ON.time(2 * torch.log((1 - there) / there))[:, 0]
        return student.jump(x, times, s).mean.detach()

    return (at(h) - at(-h)) / (2 * h)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_gradient_of_continuous_consistency_is_the_normalised_tangent(strength):
    """At strength 0 the tangent is that of diffusion."""
    student, x_t, t, direction = learned()
    zero, column_u = torch.zeros_like(t), u(t)[:, None]
    belief = student.jump(x_t, t, zero).mean
    tangent = strength * slope_along(student, x_t, t, zero, direction)
    tangent = tangent + (1 - strength) * (belief.detach() - direction) / column_u
    normal = tangent / (tangent.square().mean(1, keepdim=True).sqrt() + 0.1)
    (wanted,) = torch.autograd.grad((2 * belief * normal / column_u).mean(1).mean(), student.weight)
    loss = ContinuousConsistency().row_loss(student, x_t, t, None, direction, strength)
    (found,) = torch.autograd.grad(loss.mean(), student.weight)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss, normal.square().mean(1), rtol=1e-5, atol=1e-6)
    assert loss.max() < 1


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_the_gradient_of_mean_flow_predicts_the_velocity_and_its_derivative_is_a_constant(power):
    """V + (u_t - u_s) dV/du - v, with V = (w - D) / u of the student and v = (w - E) / u of another belief than E'."""
    student, x_t, t, direction = learned()
    s, target = column(0.5, 0.0, 0.7, 0.4, 0.0), direction + 0.2 * torch.sin(x_t)
    column_u, length = u(t)[:, None], (u(t) - u(s))[:, None]
    w, belief = x_t * (1 - column_u), student.jump(x_t, t, s).mean
    average, velocity = (w - belief) / column_u, (w - target) / column_u
    rate = (w - direction) / column_u  # dw/du of the path
    change = (rate - slope_along(student, x_t, t, s, direction)) / column_u - average.detach() / column_u  # dV/du
    error = average + length * change - velocity
    weight = 1 / (error.detach().square().mean(1) + 1e-3) ** power
    (wanted,) = torch.autograd.grad((weight * error.square().mean(1)).mean(), student.weight)
    loss = MeanFlow(power=power).row_loss(student, x_t, t, s, None, target, direction)
    (found,) = torch.autograd.grad(loss.mean(), student.weight)
    torch.testing.assert_close(loss, weight * error.square().mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("from_scratch", [False, True])
def test_shortcut_rows_that_stay_learn_the_belief_and_others_two_half_jumps(from_scratch, monkeypatch):
    seen = arguments(monkeypatch, Shortcut(from_scratch=from_scratch))
    torch.testing.assert_close(seen.belief, seen.x0 if from_scratch else teacher_belief(seen))
    assert seen.target is seen.train_step.networks()["target"]
    assert seen.target is not seen.student


def test_the_target_of_shortcut_follows_the_student():
    step = Shortcut(decay=0.75).train_step(setup())
    student, target = step.networks()["student"], step.networks()["target"]
    with torch.no_grad():
        student.weight.add_(1.0)
    step.after_update("student", 0)
    assert (target.weight - student.weight).item() == pytest.approx(-0.75)


@pytest.mark.parametrize("on", [ON, schedule.Cosine(), schedule.Straight()])
def test_one_jump_arrives_where_two_half_jumps_do(on):
    student, process = Student(on), um.process.Gaussian(on)
    t, s = column(1.0, 0.9, 0.7, 0.4), column(0.0, 0.3, 0.65, 0.0)
    x_t = 2 * torch.randn(4, 2, dtype=F64)

    def share(times):
        alpha, sigma = process.level(times)
        return sigma / (alpha + sigma)

    half = (share(t) + share(s)) / 2
    m = on.time(2 * torch.log((1 - half) / half))
    x_m = process.ode_step(x_t, student.jump(x_t, t, m).mean, t, m)
    x_s = process.ode_step(x_m, student.jump(x_m, m, s).mean, m, s)
    belief = two_half_jumps(student, x_t, t, s, None)
    assert not belief.requires_grad
    torch.testing.assert_close(process.ode_step(x_t, belief, t, s), x_s, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_the_shortcut_loss_is_an_error_of_average_velocity(power):
    student, target = Student(), Student()
    with torch.no_grad():
        target.weight.mul_(0.5)
    t, s = column(1.0, 0.8, 0.5, 0.3), column(0.9, 0.0, 0.5, 0.3)
    x_t, belief = torch.randn(4, 2, dtype=F64), torch.randn(4, 2, dtype=F64)
    loss = Shortcut(power=power).row_loss(student, target, x_t, t, s, None, belief)
    wanted = two_half_jumps(target, x_t, t, s, None)
    wanted[2:] = belief[2:]
    velocity = (student.jump(x_t, t, s).mean - wanted) / u(t)[:, None]
    square = velocity.square().mean(1)
    torch.testing.assert_close(loss, square / (square + 1e-3) ** power)
    assert target.weight.grad is None


@pytest.mark.parametrize("kind", METHODS)
def test_a_guided_teacher_is_guided_by_each_rows_scale_which_the_student_is_told(kind, monkeypatch):
    seen = arguments(monkeypatch, kind(), step=0, guidance_range=(0.5, 3.0), drop=0.3)
    scale, given = seen.condition.guidance_scale, seen.condition.is_given("label")
    assert (scale >= 0.5).all()
    assert (scale <= 3).all()
    assert len(scale.unique()) == ROWS
    assert given.any()
    assert not given.all()
    plain = dataclasses.replace(seen.condition, guidance_scale=None)
    conditional, null = (seen.setup.teacher(seen.x_t, seen.t, each).mean for each in (plain, plain.null()))
    wanted = null + scale[:, None] * (conditional - null)
    if kind is Consistency:  # at the first step the other point is the teacher's belief itself
        torch.testing.assert_close(seen.x_r, wanted)
    else:
        found = {"belief": "belief", "direction": "direction"}
        name = next(name for name in found if hasattr(seen, name))
        torch.testing.assert_close(getattr(seen, name), wanted)
        if kind is MeanFlow:
            torch.testing.assert_close(seen.target, wanted)


@pytest.mark.parametrize("kind", [MeanFlow, Shortcut])
def test_guidance_without_a_teacher_is_that_of_the_students_own_beliefs(kind, monkeypatch):
    seen = arguments(monkeypatch, kind(from_scratch=True), guidance_range=(0.5, 3.0), drop=0.3)
    scale, given = seen.condition.guidance_scale, seen.condition.is_given("label")
    lift = (scale - 1) * (1.0 + LABELS) * given  # what a label moves this student by
    target = seen.target if kind is MeanFlow else seen.belief
    torch.testing.assert_close(target, seen.x0 + lift[:, None])
    if kind is MeanFlow:
        torch.testing.assert_close(seen.direction, seen.student(seen.x_t, seen.t, seen.condition).mean)


def test_own_beliefs_without_guidance_are_the_data_and_the_belief():
    student, x0, x_t, t = Student(), torch.randn(3, 2), torch.randn(3, 2), column(0.9, 0.5, 0.1)
    known = um.Condition(label=torch.tensor([0, 1, 0]))
    for condition in (None, known):
        target, direction = own_beliefs(student, x0, x_t, t, condition)
        assert torch.equal(target, x0)
        torch.testing.assert_close(direction, student(x_t, t, condition).mean)
        assert not direction.requires_grad
