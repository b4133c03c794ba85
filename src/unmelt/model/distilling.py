"""Distillation of a model: the student as a model of its own, and its training in a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unmelt import config
from unmelt.device import device_named
from unmelt.distill import Distillation, Setup
from unmelt.errors import UsageError
from unmelt.model import fitting
from unmelt.process.tokens import Tokens
from unmelt.run_place import check_apart
from unmelt.train import Execution, Logger
from unmelt.train.atomic_files import checksum

if TYPE_CHECKING:
    from unmelt.model.base import BaseModel


def student_of(
    model: BaseModel,
    method: Distillation,
    steps: int,
    guidance_range: tuple[float, float] | None,
    changes: Mapping[str, Any],
    start: BaseModel | None = None,
) -> tuple[Any, Setup]:
    """Make a student that has learned nothing of this method yet.

    Args:
        model: The teacher.
        method: How the student is to learn.
        steps: Steps of the student's sampler.
        guidance_range: (low, high), guidance scales that it is to learn; None for none.
        changes: Settings of its training in place of the method's own; those that are None do not count.
        start: An earlier student, with whose weights it begins. None: the teacher's.

    Returns:
        The student, and what the method needs for its training step.

    Raises:
        UsageError: If there is nothing to learn from, or the method does not fit the teacher or the earlier student.
    """
    kind = "tokens" if isinstance(model.denoiser.process, Tokens) else "numbers"
    if kind != method.KIND:
        instead = {"numbers": "um.distill.MeanFlow()", "tokens": "um.distill.SDTT()"}[kind]
        raise UsageError(
            f"{type(method).__name__}, a method for {method.KIND}, and a teacher of {kind}",
            "a method of the same kind",
            instead,
        )
    if isinstance(steps, bool) or steps < 1:
        raise UsageError(f"steps={steps!r}", "the number of the student's steps, at least 1", "steps=2")
    if model.source is None or model.training is None:
        raise UsageError(
            "a teacher without data to learn from",
            "one that has its data: made by a recipe, or loaded with them",
            'um.recipe.with_data("runs/digits").distill(...)',
        )
    if model.adapters:
        name = next(iter(model.adapters))
        raise UsageError(
            f"a teacher with adapters ({', '.join(model.adapters)})",
            "one set of weights",
            f"model.merge_adapter({name!r})",
        )
    if method.needs_teacher and model.steps_done == 0 and model.origin.get("recipe"):
        raise UsageError(
            f"{type(method).__name__} with a teacher that has learned nothing",
            "a fitted teacher",
            "model.fit(out='runs/teacher')",
        )
    if guidance_range is not None and not (model.classes or model.encoder is not None):
        raise UsageError(
            f"guidance_range={guidance_range} of a teacher that learned neither classes nor captions",
            "none",
            "guidance_range=None",
        )
    training = dataclasses.replace(
        method.training(model.training), **{name: value for name, value in changes.items() if value is not None}
    )
    grid = dataclasses.replace(model.grid, steps=steps)
    denoiser = method.student(model.denoiser, guidance_range).to(model.device)
    if start is not None:
        _copy(start.denoiser, denoiser)
    student = type(model)(
        denoiser=denoiser,
        codec=model.codec,
        grid=grid,
        modality=model.modality,
        sampler=method.sampler(),
        objective=model.objective if kind == "tokens" else None,
        training=training,
        encoder=model.encoder,
        planner=model.planner,
        classes=model.classes,
        source=model.source,
        held_out=model.held_out,
        origin=model.origin | {"distilled": _described(model, method, steps, start)},
        notes=model.notes,
    )
    setup = Setup(
        teacher=model.denoiser,
        student=denoiser,
        grid=grid,
        training=training,
        guidance_range=guidance_range,
        drop=getattr(model.objective, "drop", 0.0),
        padding=getattr(model.objective, "padding", None),
    )
    return student, setup


def _copy(earlier: torch.nn.Module, student: torch.nn.Module) -> None:
    """Begin with the weights of an earlier student."""
    theirs = {name: tuple(weight.shape) for name, weight in earlier.state_dict().items()}
    own = {name: tuple(weight.shape) for name, weight in student.state_dict().items()}
    if theirs != own:
        name = min(name for name in theirs.keys() | own if theirs.get(name) != own.get(name))
        raise UsageError(
            f"a start whose weights are others than this student's, {name} among them",
            "an earlier student of the same teacher, with the same guidance_range",
            "teacher.distill(um.distill.Adversarial(), start=teacher.distill(um.distill.Consistency()))",
        )
    student.load_state_dict(earlier.state_dict())


def _described(model: BaseModel, method: Distillation, steps: int, start: BaseModel | None) -> dict[str, Any]:
    """What a student's run folder says of its origin: the method, and which teacher. Another one is another run."""
    weights = checksum(dict(model.weights()["denoiser"])) if method.needs_teacher else ""
    found = {
        "method": config.describe(method),
        "sampling_steps": steps,
        "teacher": {"run": model.run, "weights": weights},
    }
    if start is not None:
        found["start"] = {"run": start.run, "weights": checksum(dict(start.weights()["denoiser"]))}
    return found


def distill(
    model: BaseModel,
    method: Distillation,
    steps: int,
    out: Path | None,
    guidance_range: tuple[float, float] | None,
    changes: Mapping[str, Any],
    start: BaseModel | None,
    device: str | torch.device,
    quiet: bool,
    execution: Execution | None,
    log_to: str | Sequence[Logger],
    allow_other_data: bool,
) -> Any:
    """Train a student in its run folder, or resume there; see `Model.distill`.

    Args:
        model: The teacher.
        method: How the student learns.
        steps: Steps of the student's sampler.
        out: The student's run folder; None keeps nothing.
        guidance_range: (low, high), guidance scales that it learns; None for none.
        changes: Settings of its training in place of the method's own.
        start: An earlier student, with whose weights it begins.
        device: Where to compute.
        quiet: Whether to print nothing.
        execution: How it is computed.
        log_to: Loggers of the run.
        allow_other_data: Whether a run may go on with other data than it was started with.

    Returns:
        The student.

    Raises:
        UsageError: If there is nothing to learn from, the method does not fit the teacher or the earlier student, or
            `out` is the teacher's folder or holds another run.
    """
    if out is not None and model.folder is not None and out.resolve() == model.folder.resolve():
        raise UsageError(
            f"out={str(out)!r}, the teacher's own folder", "a folder of its own", f"out={str(out) + '-fast'!r}"
        )
    if out is not None:
        check_apart(out, model.origin)
    student, setup = student_of(model, method, steps, guidance_range, changes, start)
    student.folder = out
    fitting.fit(student, device_named(device), execution, quiet, log_to, method.train_step(setup), allow_other_data)
    return student
