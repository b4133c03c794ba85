"""Training a model in a run folder: resume, save, draw previews, log."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unmelt import picture, run_folder
from unmelt.data.identity import identity
from unmelt.errors import UsageError, enough_memory
from unmelt.run_place import check_apart
from unmelt.terminal import notify
from unmelt.train import (
    Execution,
    Logger,
    MetricsLog,
    Trainer,
    TrainStep,
    distributed,
    loggers,
    read_metrics,
)
from unmelt.train.checkpoint import chain
from unmelt.train.folder_lock import folder_lock
from unmelt.train.threads import suitable_threads

if TYPE_CHECKING:
    from unmelt.model.stored import Stored


def fit(
    model: Stored,
    device: torch.device,
    execution: Execution | None,
    quiet: bool,
    log_to: str | Sequence[Logger],
    train_step: TrainStep,
    allow_other_data: bool = False,
) -> None:
    """Train a model to its last step, or resume the run in its folder.

    Args:
        model: A model with source and training; its `folder` is the run folder, or None to keep nothing.
        device: Where to compute. Under torchrun every process uses its own device.
        execution: How a step is computed: compiled, in micro-batches, sharded.
        quiet: Whether to print nothing.
        log_to: Names of services, or loggers, that the run is reported to.
        train_step: The networks and losses, the model's main module being the first network or computing with it.
        allow_other_data: Whether a run may go on with other data than it was started with, which it then records.

    Raises:
        UsageError: If the folder holds another run, cannot be written to, or the training diverges.
    """
    assert model.source is not None
    assert model.training is not None
    smaller = f"batch={max(1, model.training.batch // 2)}"
    with enough_memory("a smaller network or batch", smaller), distributed.process_group(device) as own:
        source, held_out, codec = model.training_data(own)
        trainer = Trainer(train_step, source, codec, model.training, own, execution, held_out)
        quiet = quiet or distributed.rank() > 0
        if model.folder is None:
            _train(model, trainer, quiet, log_to)
            return
        model.data = {"training": identity(model.source), "held_out": identity(model.held_out)}
        check_apart(model.folder, model.origin)
        described = model.describe()  # first: a model that cannot be described cannot be saved
        run_folder.prepare(model.folder)
        with folder_lock(model.folder):
            _begin(model, trainer, model.folder, described, allow_other_data, quiet)
            _train(model, trainer, quiet, log_to)


def _train(model: Stored, trainer: Trainer, quiet: bool, log_to: str | Sequence[Logger]) -> None:
    folder, first, training = model.folder, distributed.rank() == 0, trainer.training
    chosen = loggers(log_to, folder) if folder is not None and first else []
    metrics = folder / run_folder.METRICS if folder is not None and first else None
    log = MetricsLog(metrics, trainer.done, training.steps, training.batch, quiet, chosen, trainer.device)
    checkpoints = None if folder is None else folder / run_folder.CHECKPOINTS
    with (
        log,
        _says_how_to_resume(model, trainer),
        suitable_threads(trainer) as threads,
        closing(trainer.run(checkpoints)) as events,
    ):
        log.say(
            f"training {trainer.parameters:,} parameters, {training.batch:,} rows a step, on {trainer.device}{threads}"
        )
        if trainer.done:
            log.say(f"resuming from step {trainer.done:,} of {training.steps:,}")
        for event in events:
            if event.kind == "log":
                log.add_event(event)
            elif event.kind == "progress":
                log.progress(event.step)
            elif folder is None:
                continue
            elif event.kind == "preview":
                _preview(model, folder, event.step, chosen)
            elif event.kind == "snapshot" and trainer.post_hoc_ema is not None:
                trainer.post_hoc_ema.save(folder / run_folder.AVERAGES, model.run)
            elif event.kind == "save":
                model.steps_done = event.step
                model.save(folder)
    model.steps_done = trainer.done
    if folder is not None and first:
        _draw_loss(folder)


@contextmanager
def _says_how_to_resume(model: Stored, trainer: Trainer) -> Iterator[None]:
    """Let the interrupt of a training say what was saved, and how to go on: it is the last line of a traceback.

    The training loop saves before it raises, unless a second interrupt came meanwhile; `steps_done` is what was saved.
    """
    before = trainer.done
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if interrupt.args:
            raise
        if model.folder is None:
            said = f"training stopped at step {trainer.done:,} and nothing keeps it; model.fit(out='runs/new') would"
        else:
            saved, checkpoints = max(before, model.steps_done), model.folder / run_folder.CHECKPOINTS
            call = f"model.fit(out={str(model.folder)!r})"
            said = f"the checkpoint of step {saved:,} is in {checkpoints}; the same {call} goes on from it"
        raise type(interrupt)(said) from None


def _preview(model: Stored, folder: Path, step: int, chosen: Sequence[Logger]) -> None:
    """Draw samples and the loss so far. Every process must call; the first one writes."""
    first = distributed.rank() == 0
    if first:
        _draw_loss(folder)
    path = model.save_preview(folder / "samples" / f"{step:06d}" if first else None)
    if path is not None and path.suffix == ".png":
        for logger in chosen:
            logger.picture(step, path)


def _begin(
    model: Stored, trainer: Trainer, folder: Path, described: dict[str, Any], allow_other_data: bool, quiet: bool
) -> None:
    """Resume the run in this folder, or begin a new one: its config.json is written before its first checkpoint."""
    if not distributed.broadcast_from_main((folder / run_folder.CONFIG).exists):
        model.run = distributed.broadcast_from_main(lambda: secrets.token_hex(8))
        trainer.checkpoint.run = model.run
        (folder / run_folder.CHECKPOINTS).mkdir(exist_ok=True)
        model.save(folder)
        return
    run_folder.check_same(folder, described, allow_other_data)
    about = run_folder.read_about(folder)
    model.run = trainer.checkpoint.run = str(about.get("run", ""))
    _resume(model, trainer, folder, about, (lambda line: None) if quiet else notify)


def _resume(model: Stored, trainer: Trainer, folder: Path, about: dict[str, Any], say: Callable[[str], None]) -> None:
    """Load the newest checkpoint of the run. A run that was stopped before its first one starts again."""
    checkpoints = folder / run_folder.CHECKPOINTS
    try:
        trainer.done = trainer.checkpoint.load(checkpoints, warn=say)
    except UsageError as error:
        if about["steps_done"] > 0:
            raise
        if chain(checkpoints):
            say(f"{error.given}; starting from step 0")
    if trainer.done == trainer.training.steps:
        model.keep_fitted(about)
    if trainer.done > trainer.training.steps:
        raise UsageError(
            f"steps={trainer.training.steps} for the run in {folder}, which has taken {trainer.done}",
            "as many or more",
            f"steps={trainer.done}",
        )


def _draw_loss(folder: Path) -> None:
    lines = read_metrics(folder / run_folder.METRICS)
    curves = {}
    for name, field in (("training", "loss"), ("held out", "held_out")):
        if known := [line for line in lines if field in line]:
            curves[name] = [line["step"] for line in known], [line[field] for line in known]
    if curves:
        picture.curve(curves, folder / "loss.png")
