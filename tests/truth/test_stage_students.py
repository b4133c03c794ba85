"""Progressive distillation and reflow: their targets are those of exact denoisers and flow maps, in float64."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conformance.subjects import F64, Anisotropic, column, name, tilted
from sampler.flows import ExactFlowMap
from torch import nn

import unmelt as um
from unmelt import UsageError, schedule
from unmelt.condition import Condition
from unmelt.distill import JumpTimes, Progressive, Reflow, Setup
from unmelt.distill.progressive import halved, two_steps
from unmelt.distill.reflow import pairs, row_loss
from unmelt.distill.student import flow_map_of
from unmelt.guidance import CFG
from unmelt.posterior import Point
from unmelt.process import Gaussian
from unmelt.rng import Part, RowSeeds, Stream
from unmelt.sampler import DDIM, Adams, grid, walk
from unmelt.train import Batch, Trainer, Training

FEW = [schedule.Cosine(), schedule.VarianceExploding(0.02, 2.0), schedule.LinearBeta()]
T, M, S = column(1.0, 0.8, 0.5, 0.9), column(0.7, 0.4, 0.3, 0.5), column(0.3, 0.0, 0.1, 0.2)


def points(rows=len(T), dim=3, seed=0):
    return torch.randn(rows, dim, dtype=F64, generator=torch.Generator().manual_seed(seed))


class Student(nn.Module):
    """A flow map whose jump is a function that is given."""

    def __init__(self, process, jump):
        super().__init__()
        self.process, self._jump = process, jump
        self.factor = nn.Parameter(torch.ones((), dtype=F64))

    def jump(self, x_t, t, s, condition=None):
        return Point(self.factor * self._jump(x_t, t, s, condition))


class Teacher(nn.Module):
    """An exact denoiser where a module is asked for."""

    def __init__(self, exact):
        super().__init__()
        self.exact, self.process = exact, exact.process

    def forward(self, x_t, t, condition=None):
        return self.exact(x_t, t, condition)


def step_of(student, teacher, steps=1, total=100, method=None, guidance_range=None):
    setup = Setup(
        teacher=teacher if isinstance(teacher, nn.Module) else Teacher(teacher),
        student=student,
        grid=grid.balanced(steps, pivot=1.0),
        training=Training(steps=total),
        guidance_range=guidance_range,
    )
    step = (method or Progressive(stages=3, growth=1.0, power=0.0, decay=0.5)).train_step(setup)
    step.setup = setup
    return step


def belief_of(process, x_t, x_s, t, s):
    """D with ode_step(x_t, D, t, s) = x_s, by solving that equation for it."""
    zero, one = (process.ode_step(x_t, torch.full_like(x_t, value), t, s) for value in (0.0, 1.0))
    return (x_s - zero) / (one - zero)


def ddim(x, t, s, on, believed):
    """DDIM as its paper writes it: the predicted x0 at the level of s, plus the predicted noise there."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = ((on.alpha(each)[:, None], on.sigma(each)[:, None]) for each in (t, s))
    noise = (x - alpha_t * believed) / sigma_t
    return alpha_s * believed + sigma_s * noise


def test_the_target_of_two_steps_arrives_where_two_steps_of_ddim_do(any_schedule):
    on, truth = any_schedule, Anisotropic.make()
    exact, x_t = truth.denoiser(on), on.sigma(T)[:, None] * points()

    def mean(x, t):
        gain = (
            on.alpha(t)[:, None] * truth.spread / (on.alpha(t)[:, None] ** 2 * truth.spread + on.sigma(t)[:, None] ** 2)
        )
        return truth.mean + (x - on.alpha(t)[:, None] * truth.mean) @ truth.axes * gain @ truth.axes.mT

    x_m = ddim(x_t, T, M, on, mean(x_t, T))
    x_s = ddim(x_m, M, S, on, mean(x_m, M))
    target = two_steps(lambda x, t, s, _: exact(x, t).mean, exact.process, x_t, (T, M, S), None)
    torch.testing.assert_close(exact.process.ode_step(x_t, target, T, S), x_s, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(target[1], mean(x_m, M)[1], rtol=1e-9, atol=1e-9)  # s = 0: where the second step ends


def test_the_loss_of_the_first_stage_is_zero_for_a_student_of_two_ddim_steps_and_for_no_other(plain_schedule):
    truth = Anisotropic.make()
    exact = truth.denoiser(plain_schedule)
    process = exact.process
    times = grid.balanced(4, pivot=1.0)(plain_schedule)
    over = {round(times[2 * k].item(), 9): times[2 * k + 1] for k in range(2)}

    def jump(x_t, t, s, condition):
        m = torch.stack([over[round(each.item(), 9)] for each in t])
        x_m = ddim(x_t, t, m, plain_schedule, exact(x_t, t).mean)
        return belief_of(process, x_t, ddim(x_m, m, s, plain_schedule, exact(x_m, m).mean), t, s)

    x0 = truth.mean + points(64)
    for wrong, bound in ((0.0, 1e-16), (1e-3, None)):
        student = Student(process, lambda x_t, t, s, c, wrong=wrong: jump(x_t, t, s, c) + wrong)
        step = step_of(student, exact, steps=2, method=Progressive(stages=1, power=0.0))
        loss = step.loss(Batch(x0, None, 0), Stream(1)).max().item()
        assert loss < bound if bound else loss > 1e-7


def test_an_exact_flow_map_stays_as_it_is_in_every_later_stage(plain_schedule):
    exact = ExactFlowMap(plain_schedule)
    student = Student(exact.process, lambda x_t, t, s, _: exact.jump(x_t, t, s).mean)
    step = step_of(student, exact)
    x0 = exact.truth.mean + points(64)
    for stage in (1, 2):
        step.stage_teacher.stage.fill_(stage)
        loss = step.loss(Batch(x0, None, 0), Stream(stage))
        assert loss.max() < 1e-16
        (slope,) = torch.autograd.grad(loss.mean(), [student.factor])
        assert abs(slope) < 1e-6
    step.stage_teacher.stage.fill_(0)  # whose teacher is the denoiser, with steps that are not exact
    assert step.loss(Batch(x0, None, 0), Stream(0)).max() > 1e-5


def test_guidance_is_applied_once_however_many_stages_there_are():
    """After two stages a jump is four DDIM steps with guidance w. Guided in each stage, it would be w^2."""
    on, w = schedule.Cosine(), 2.5
    exact = tilted(on)
    process, label = exact.process, torch.arange(6) % 2
    x0, known = points(6, 2), Condition(label=label, guidance_scale=torch.full((6,), w, dtype=F64))
    times = grid.balanced(4, pivot=1.0)(on)

    def guided(x, t):
        null, conditional = exact(x, t).mean, exact(x, t, Condition(label=label)).mean
        return null + w * (conditional - null)

    def four_steps(x_t, t, s, condition):
        x = x_t
        for t, s in pairwise(times):
            x = ddim(x, t.expand(6), s.expand(6), on, guided(x, t.expand(6)))
        return x

    student = Student(process, four_steps)
    step = step_of(student, exact, method=Progressive(stages=2, power=0.0), guidance_range=(1.0, 4.0))
    first = step.beliefs(0)

    def perfect(x_t, t, s, condition):
        m = times[(times[:, None] == t).nonzero()[:, 0] + 1]
        return two_steps(first, process, x_t, (t, m, s), condition)

    step.stage_teacher.flow_map = Student(process, perfect)
    jumps = times[:1].expand(6), times[2:3].expand(6), times[4:].expand(6)
    x_t, _ = process.corrupt(x0, jumps[0], Stream(0))
    target = two_steps(step.beliefs(1), process, x_t, jumps, known)
    torch.testing.assert_close(target, four_steps(x_t, None, None, None), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        first(x_t, times[1].expand(6), times[2].expand(6), known), guided(x_t, times[1].expand(6))
    )


def test_every_stage_halves_the_grid_and_the_last_one_is_the_students(any_grid, plain_schedule):
    chosen, process = any_grid(3), Gaussian(plain_schedule)
    finest = halved(chosen, process, 8)
    assert len(finest) == 25
    assert (finest.diff() < 0).all()
    assert torch.equal(finest[::8], chosen(plain_schedule))
    torch.testing.assert_close(finest[::2], halved(chosen, process, 4), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        halved(grid.balanced(3, pivot=1.0), process, 4),
        grid.balanced(12, pivot=1.0)(plain_schedule),
        rtol=1e-7,
        atol=1e-9,
    )


def test_a_stage_takes_its_steps_from_its_own_grid():
    seen = []

    def noted(x_t, t, s, condition):
        seen.append((t, s))
        return torch.zeros_like(x_t)

    exact = ExactFlowMap(schedule.Cosine())
    step = step_of(Student(exact.process, noted), exact, steps=2, method=Progressive(stages=3))
    for stage, jumps in ((0, 8), (1, 4), (2, 2)):
        step.stage_teacher.stage.fill_(stage)
        seen.clear()
        step.loss(Batch(points(256), None, 0), Stream(0))
        t, s = seen[-1]
        wanted = halved(grid.balanced(2, pivot=1.0), exact.process, jumps // 2)
        torch.testing.assert_close(t.unique(), wanted[:-1].flip(0), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(s.unique(), wanted[1:].flip(0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("total", [9, 10], ids=name)
def test_the_average_becomes_the_teacher_at_the_end_of_each_stage(total):
    exact = ExactFlowMap(schedule.Cosine())
    step = step_of(Student(exact.process, lambda x_t, *_: x_t), exact, total=total)
    average, stages, teachers = 1.0, [], []
    for number in range(total):
        step.setup.student.factor.data.fill_(number)
        with torch.no_grad():
            step.after_update("student", number)
        before, average = teachers[-1] if teachers else 1.0, 0.5 * average + 0.5 * number
        stage = sum(number + 1 >= round(total * end / 3) for end in (1, 2))
        changed = stage > (stages[-1] if stages else 0)
        assert int(step.stage_teacher.stage) == stage
        assert step.stage_teacher.flow_map.factor.item() == pytest.approx(average if changed else before)
        stages.append(stage)
        teachers.append(step.stage_teacher.flow_map.factor.item())
    assert stages[-1] == 2
    assert len(set(teachers)) == 3
    step.setup = um.distill.Setup(
        teacher=exact, student=step.setup.student, grid=grid.balanced(1), training=Training(steps=2 * total)
    )
    with torch.no_grad():
        step.after_update("student", total)
    assert int(step.stage_teacher.stage) == 2  # a run that is made longer stays in its last stage


def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path):
    model = um.recipe.ring(width=8, depth=1, modes=3, steps=60, batch=32)
    method = Progressive(stages=3, decay=0.7)
    training = method.training(Training(steps=12, batch=16, precision="float32"))
    training = replace(training, steps=12, lr=1e-2)

    def trainer():
        setup = Setup(
            teacher=model.denoiser,
            student=method.student(model.denoiser, (1.0, 3.0)),
            grid=grid.balanced(1),
            training=training,
            guidance_range=(1.0, 3.0),
        )
        return Trainer(method.train_step(setup), model.source, model.codec, training)

    whole = trainer()
    for number in range(12):
        whole.step()
        if number == 5:
            whole.checkpoint.save(tmp_path, 6)
    rest = trainer()
    rest.done = rest.checkpoint.load(tmp_path)
    while rest.done < 12:
        rest.step()
    assert int(rest.train_step.stage_teacher.stage) == 2
    for network, other in zip(whole.networks.values(), rest.networks.values(), strict=True):
        for one, same in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(one, same)


def test_settings_that_make_no_stages_are_refused():
    with pytest.raises(UsageError, match="stages=5"):
        Progressive(stages=0)
    with pytest.raises(UsageError, match="growth"):
        Progressive(growth=-1.0)
    with pytest.raises(UsageError, match=r"decay=0\.98"):
        Progressive(decay=1.0)
    with pytest.raises(UsageError, match="uses=2"):
        Reflow(uses=0)


def rectified(exact, x_t, t):
    """E[x0 | x_t] among the pairs of one Gaussian: along each axis x0 is a line in x_1, and so is x_t."""
    on, truth = exact.process.schedule, exact.truth
    one = torch.ones_like(t)
    (alpha, sigma), (alpha_1, sigma_1) = ((on.alpha(each)[:, None], on.sigma(each)[:, None]) for each in (t, one))
    gain = torch.sqrt(truth.spread) / torch.sqrt(alpha_1**2 * truth.spread + sigma_1**2)
    seen = alpha * gain + sigma * (1 - alpha_1 * gain) / sigma_1
    return truth.mean + (x_t - alpha * truth.mean) @ truth.axes * (gain / seen) @ truth.axes.mT


def test_a_pair_is_noise_and_what_the_flow_makes_of_it(plain_schedule):
    exact = ExactFlowMap(plain_schedule)
    x_1, x_0 = pairs(exact, Adams(order=6), grid.balanced(160), points(64), None, Stream(0))
    torch.testing.assert_close(x_1, exact.process.prior((64, 3), Stream(0), F64))
    start = torch.ones(64, dtype=F64)
    torch.testing.assert_close(x_0, exact.flow(x_1, start, 0 * start), rtol=1e-6, atol=1e-6)


def test_the_belief_among_the_pairs_of_a_gaussian_has_no_loss_and_no_other_has(plain_schedule):
    exact = ExactFlowMap(plain_schedule)
    method = Reflow(teacher_steps=96, teacher_sampler=Adams(order=6), uses=3)
    for wrong, bound in ((0.0, 1e-9), (1e-2, None)):
        student = Student(exact.process, lambda x_t, t, s, _, wrong=wrong: rectified(exact, x_t, t) + wrong)
        step = step_of(student, exact, method=method)
        (phase,) = step.phases()
        loss = phase.loss(Batch(points(64), None, 0), Stream(1))
        assert loss.max() < bound if bound else loss.min() > 1e-5
        if bound:
            (slope,) = torch.autograd.grad(loss.mean(), [student.factor])
            assert abs(slope) < 1e-6


@pytest.mark.parametrize(
    "on", [schedule.Cosine(), schedule.VarianceExploding(0.02, 2.0), schedule.LinearBeta()], ids=name
)
def test_the_loss_is_least_at_the_conditional_mean_of_pairs_that_are_jointly_gaussian(on):
    """x_1 = sigma_1 z and x_0 = m + a z + b z' with Gauss-Hermite quadrature over (z, z')."""
    node, weight = (torch.from_numpy(each) for each in np.polynomial.hermite_e.hermegauss(8))
    z, other = torch.cartesian_prod(node, node).unbind(1)
    share = torch.cartesian_prod(weight, weight).prod(1) / (2 * math.pi)
    m, a, b, process = 0.4, 0.6, 0.5, Gaussian(on)
    one = torch.ones(len(z), dtype=F64)
    x_1, x_0 = (on.sigma(one) * z)[:, None], (m + a * z + b * other)[:, None]
    for t in (1.0, 0.7, 0.2):
        (alpha, sigma), (alpha_1, sigma_1) = ((on.alpha(at)[0], on.sigma(at)[0]) for at in (column(t), column(1.0)))
        variance, with_z = a**2 + b**2, a - alpha_1 / sigma_1 * (a**2 + b**2)
        square_z = 1 - 2 * a * alpha_1 / sigma_1 + (alpha_1 / sigma_1) ** 2 * variance
        slope = (alpha * variance + sigma * with_z) / (
            alpha**2 * variance + 2 * alpha * sigma * with_z + sigma**2 * square_z
        )
        middle = alpha * m + sigma * (0 - alpha_1 / sigma_1 * m)
        for wrong in (0.0, 0.01):
            line = [(m - slope * middle + wrong).clone().requires_grad_(), (slope + wrong).clone().requires_grad_()]
            student = Student(process, lambda x_t, t, s, _, line=line: line[0] + line[1] * x_t)
            loss = row_loss(student, x_1, x_0, t * one, 0 * one, None)
            gradient = torch.autograd.grad((share * loss).sum(), line)
            assert all(abs(each) < 1e-9 for each in gradient) if wrong == 0 else abs(gradient[0]) > 1e-3


def test_pairs_are_guided_once_by_each_rows_scale():
    exact = tilted(schedule.Cosine())
    known = Condition(label=torch.arange(8) % 2, guidance_scale=torch.linspace(1, 3, 8, dtype=F64))
    setup = step_of(Student(exact.process, lambda x_t, *_: x_t), exact, guidance_range=(1.0, 4.0)).setup
    _, x_0 = pairs(setup.guided_teacher, DDIM(), grid.balanced(5), points(8, 2), known, Stream(3))
    for row, scale in enumerate(known.guidance_scale.tolist()):
        guided = um.guidance.CFG(exact, scale)
        x_1 = exact.process.prior((8, 2), Stream(3), F64)[row : row + 1]
        times = [each.expand(1) for each in grid.balanced(5)(exact.process.schedule)]
        state = DDIM().init(guided, x_1, times[0], RowSeeds.of(0, 1), Condition(label=known.label[row : row + 1]))
        torch.testing.assert_close(x_0[row : row + 1], [*walk(guided, DDIM(), state, times[1:])][-1].x)


def test_the_training_step_aims_at_the_samples_of_the_guided_teacher():
    """A student that believes in 0, from t = 1 alone, has the loss |x_0 / u_1|^2."""
    exact, label = tilted(schedule.Cosine()), torch.arange(8) % 2
    student = Student(exact.process, lambda x_t, *_: torch.zeros_like(x_t))
    method = Reflow(teacher_steps=4, teacher_sampler=DDIM(eta=1.0), uses=1, times=JumpTimes(from_noise=1.0))
    step = step_of(student, exact, method=method, guidance_range=(1.0, 4.0))
    (phase,) = step.phases()
    batch = Batch(points(8, 2), Condition(label=label), 0)
    loss = phase.loss(batch, Stream(7))
    rng = Stream(7)
    known = step.setup.drawn(batch.condition, 8, rng, torch.device("cpu"))
    _, x_0 = pairs(CFG(exact, 1.0), DDIM(eta=1.0), grid.balanced(4, pivot=1.0), batch.x0, known, rng)
    torch.testing.assert_close(loss, x_0.square().mean(1))  # u_1 = 1 on this schedule
    assert torch.equal(phase.loss(batch, Stream(7)), loss)  # a sampler's own noise is of the step's randomness too


def test_a_teacher_that_has_learned_guidance_is_not_guided_again():
    """The second round of reflow, and any student of a student."""
    model = um.recipe.ring(width=8, depth=1, modes=3)
    plain, knowing = (flow_map_of(model.denoiser, each, is_denoiser=True) for each in (None, (1.0, 4.0)))
    for teacher, guided in ((plain, True), (knowing, False)):
        setup = step_of(teacher, teacher, guidance_range=(1.0, 2.0)).setup
        assert isinstance(setup.guided_teacher, CFG) == guided


@pytest.mark.parametrize("method", [Progressive(stages=2), Reflow(teacher_steps=2)], ids=name)
def test_a_batch_that_is_divided_has_the_losses_of_the_whole(method):
    exact = tilted(schedule.Cosine())
    student = Student(exact.process, lambda x_t, t, s, _: x_t * s[:, None])
    step = step_of(student, exact, method=method, guidance_range=(1.0, 4.0))
    (phase,) = step.phases()
    x0, known = points(12, 2), Condition(label=torch.arange(12) % 2)
    whole = phase.loss(Batch(x0, known, 0), Stream(5))
    for part in range(3):
        rows = slice(4 * part, 4 * part + 4)
        own = phase.loss(Batch(x0[rows], known[rows], 0), Part(Stream(5), part, 3))
        torch.testing.assert_close(own, whole[rows])
