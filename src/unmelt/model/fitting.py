"""What happens around training: a run folder is resumed, saved to, drawn in and logged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console

from unmelt import config, picture, run
from unmelt.errors import UsageError
from unmelt.train import Execution, Logger, MetricsLog, PowerFunctionEMA, Trainer, loggers, processes, read_metrics

if TYPE_CHECKING:
    from unmelt.model.trained import Trained


def fit(
    model: Trained,
    device: torch.device,
    execution: Execution | None,
    quiet: bool,
    log_to: str | Sequence[Logger],
) -> None:
    """Train a model to its last step, or resume the run in its folder.

    Args:
        model: A model with source, objective and training; its `folder` is the run folder, or None to keep nothing.
        device: Where to compute. Under torchrun every process takes its own.
        execution: How it is computed.
        quiet: Whether to print nothing.
        log_to: Services or loggers that are told of the run.

    Raises:
        UsageError: If the folder holds another run, cannot be written to, or the training diverges.
    """
    with processes.joined(device) as own:
        parts = (model.denoiser, model.source, model.learning_codec(), model.objective, model.training)
        trainer = Trainer(*parts, own, execution, model.held_out)  # type: ignore[arg-type]
        _train(model, trainer, quiet or processes.rank() > 0, log_to)


def _train(model: Trained, trainer: Trainer, quiet: bool, log_to: str | Sequence[Logger]) -> None:
    folder, first, training = model.folder, processes.rank() == 0, trainer.training
    if folder is not None:
        _resume(model, trainer, folder, quiet)
    told = loggers(log_to, folder) if folder is not None and first else []
    metrics = folder / run.METRICS if folder is not None and first else None
    log = MetricsLog(metrics, trainer.done, training.steps, training.batch, quiet, told, trainer.device)

    def save() -> None:
        if folder is not None:
            trainer.checkpoint.save(folder / run.CHECKPOINTS, trainer.done)
            model.steps_done = trainer.done
            with trainer.averaged():
                model.save(folder)

    def preview(step: int) -> None:
        if folder is not None:
            if first:
                _draw_loss(folder)
            path = model.show(folder / "samples" / f"{step:06d}" if first else None)
            if path is not None and path.suffix == ".png":
                for one in told:
                    one.picture(step, path)

    def snapshot(averages: PowerFunctionEMA) -> None:
        if folder is not None:
            averages.save(folder / run.AVERAGES)

    trainer.run(log, save, preview, snapshot)
    model.steps_done = trainer.done
    if folder is not None and first:
        _draw_loss(folder)


def _resume(model: Trained, trainer: Trainer, folder: Path, quiet: bool) -> None:
    """Bring the trainer to where the run in this folder stopped, if there is one."""
    mine = model.describe()  # before anything else: what cannot be described could not be saved
    run.prepare(folder)
    if not (folder / run.CONFIG).exists():
        return
    run.check_same(folder, mine)
    console = Console(stderr=True, quiet=quiet)
    trainer.done = trainer.checkpoint.load(folder / run.CHECKPOINTS, warn=console.print)
    if trainer.done == trainer.training.steps:
        model.tuned = config.build(run.read_about(folder).get("tuned", []))
    if trainer.done > trainer.training.steps:
        raise UsageError(
            f"steps={trainer.training.steps} for the run in {folder}, which has taken {trainer.done}",
            "as many or more",
            f"steps={trainer.done}",
        )


def _draw_loss(folder: Path) -> None:
    lines = read_metrics(folder / run.METRICS)
    curves = {}
    for name, field in (("training", "loss"), ("held out", "held_out")):
        if known := [line for line in lines if field in line]:
            curves[name] = [line["step"] for line in known], [line[field] for line in known]
    if curves:
        picture.curve(curves, folder / "loss.png")
