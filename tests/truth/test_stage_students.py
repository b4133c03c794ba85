"""Progressive distillation: its targets are steps of exact denoisers and flow maps, in float64."""

import copy
from itertools import pairwise

import pytest
import torch
from conformance.subjects import F64, Anisotropic, column, name, tilted
from sampler.flows import ExactFlowMap
from torch import nn

import unmelt as um
from unmelt import UsageError, schedule
from unmelt.condition import Condition
from unmelt.distill import Progressive, Setup
from unmelt.distill.progressive import halved, two_steps
from unmelt.posterior import Point
from unmelt.process import Gaussian
from unmelt.rng import Stream
from unmelt.sampler import grid
from unmelt.train import Batch, Trainer, Training
from unmelt.train.lr_schedule import Cosine

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


def step_of(student, teacher, steps=1, total=100, method=None, guidance_range=None):
    setup = Setup(
        teacher=teacher,
        student=student,
        grid=grid.balanced(steps, pivot=1.0),
        training=Training(steps=total),
        guidance_range=guidance_range,
    )
    return (method or Progressive(teacher_steps=8, power=0.0, decay=0.5)).train_step(setup)


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
        step = step_of(student, exact, steps=2, method=Progressive(teacher_steps=4, power=0.0))
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
    step = step_of(student, exact, method=Progressive(teacher_steps=4, power=0.0), guidance_range=(1.0, 4.0))
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
    step = step_of(Student(exact.process, noted), exact, steps=2, method=Progressive(teacher_steps=16))
    assert step.stages == 3
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
        stage = min(2, 3 * (number + 1) // total)
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
    training = Training(steps=12, batch=16, lr=1e-2, lr_schedule=Cosine(warmup=2), precision="float32")

    def trainer():
        method = Progressive(teacher_steps=8, decay=0.7)
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
    with pytest.raises(UsageError, match="teacher_steps=32"):
        Progressive(teacher_steps=1)
    with pytest.raises(UsageError, match=r"decay=0\.98"):
        Progressive(decay=1.0)
    assert [Progressive(teacher_steps=32).stages(steps) for steps in (1, 2, 3, 20, 64)] == [5, 4, 4, 1, 1]
    assert copy.deepcopy(Progressive()) == Progressive()
