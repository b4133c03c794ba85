"""Methods for flow maps without a teacher, whom their gradients reach, and the settings that they refuse."""

import dataclasses

import pytest
import torch

import unmelt as um
from unmelt import UsageError
from unmelt.distill import Setup
from unmelt.rng import Stream
from unmelt.train.step import Batch

METHODS = [um.distill.Consistency, um.distill.ContinuousConsistency, um.distill.MeanFlow, um.distill.Shortcut]
QUICK = {"training_steps": 12, "device": "cpu", "quiet": True}


def ring(**settings):
    return um.recipe.ring(**{"width": 8, "depth": 1, "modes": 3, "steps": 60, "batch": 32, **settings})


@pytest.fixture(scope="module")
def teacher():
    return ring().fit(device="cpu", quiet=True)


def setup(method, teacher, guidance_range=None, training_steps=20):
    training = dataclasses.replace(teacher.training, steps=training_steps)
    student = method.student(teacher.denoiser, guidance_range).double()
    with torch.no_grad(), um.rng.seeded(0):
        for each in student.parameters():  # as if something were learned
            each.add_(0.05 * torch.randn_like(each))
    return Setup(
        teacher=teacher.denoiser,
        student=student,
        grid=teacher.grid,
        training=training,
        guidance_range=guidance_range,
        drop=0.2,
    )


@pytest.mark.parametrize("kind", METHODS)
def test_a_student_learns_without_a_teacher(kind):
    given = ring()
    student = given.distill(kind(from_scratch=True), steps=2, **QUICK)
    assert student.sample(5, label=1, seed=3).isfinite().all()
    first = dict(given.denoiser.named_parameters())
    assert any(
        not torch.equal(each, first[name]) for name, each in student.denoiser.named_parameters() if name in first
    )


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("step", [0, 19])
@pytest.mark.parametrize("from_scratch", [False, True])
def test_gradients_reach_the_student_alone_and_rows_are_alone(kind, step, from_scratch, teacher):
    method = kind(from_scratch=from_scratch)
    made = method.train_step(setup(method, teacher))
    (phase,) = made.phases()
    x0, label = torch.randn(8, 2, dtype=torch.float64), torch.arange(8) % 3
    teacher.denoiser.double()
    try:
        losses = phase.loss(Batch(x0, um.Condition(label=label), step), Stream(5))
        assert losses.shape == (8,)
        losses.mean().backward()
        with torch.no_grad():
            changed = torch.cat([x0[:7], x0[7:] + 1])
            again = phase.loss(Batch(changed, um.Condition(label=label), step), Stream(5))
    finally:
        teacher.denoiser.float()
    torch.testing.assert_close(losses[:7], again[:7], rtol=1e-10, atol=1e-12)
    assert not torch.equal(losses[7], again[7])
    networks = dict(made.networks())
    assert next(iter(networks)) == "student"
    assert any(each.grad is not None and each.grad.abs().max() > 0 for each in networks.pop("student").parameters())
    for other in [*networks.values(), *made.frozen()]:
        assert all(each.grad is None for each in other.parameters())
    assert bool(made.frozen()) is not from_scratch


@pytest.mark.parametrize("kind", METHODS)
def test_guidance_without_a_teacher_needs_a_student_that_has_beliefs(kind, teacher):
    method = kind(from_scratch=True)
    if method.student(teacher.denoiser, None).is_denoiser:
        student = ring().distill(method, steps=1, guidance_range=(1.0, 3.0), **QUICK)
        assert student.sample(2, label=1, guidance=2.0).isfinite().all()
    else:
        with pytest.raises(UsageError, match=r"beliefs can be guided.*MeanFlow\(from_scratch=True\)"):
            ring().distill(method, steps=1, guidance_range=(1.0, 3.0), **QUICK)


def test_settings_out_of_range_are_refused():
    with pytest.raises(UsageError, match=r"gap=0.*easing=1"):
        um.distill.Consistency(gap=0)
    with pytest.raises(UsageError, match="easing=2"):
        um.distill.Consistency(easing=2)
    with pytest.raises(UsageError, match="warmup=-1"):
        um.distill.ContinuousConsistency(warmup=-1)
    with pytest.raises(UsageError, match="learn the belief"):
        um.distill.Shortcut(times=um.distill.JumpTimes(still=0.0))
    with pytest.raises(UsageError, match="decay=1"):
        um.distill.Shortcut(decay=1)
