"""Tuning of a model's sampler, under the conditions and guidance of a request."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch

from unmelt.condition import Condition
from unmelt.model.request import SampleRequest, check_rows
from unmelt.progress import Progress
from unmelt.rng import RowSeeds, fold
from unmelt.sampler import TuneResult, tune
from unmelt.train.folder_lock import folder_lock

if TYPE_CHECKING:
    from unmelt.model.model import Model


def tune_model(
    model: Model,
    steps: int,
    guidance: float,
    condition: Condition | None,
    rows: int,
    rounds: int,
    seed: int,
    quiet: bool,
) -> TuneResult:
    """Learn a sampler for a model, which keeps it, as does its run folder; see `Model.tune`.

    Args:
        model: The model.
        steps: Network evaluations of a sample.
        guidance: Scale of classifier-free guidance.
        condition: What is known of each row, or of one for all. None: classes in turn, where the model has some.
        rows: Rows of noise to fit to; a quarter of them is held out to measure the error.
        rounds: Iterations of the fit.
        seed: Seed of the noise.
        quiet: Whether to show no progress.

    Returns:
        The sampler and its errors on noise it has not seen.

    Raises:
        UsageError: If guidance is asked for and there is nothing to guide towards, or the run is being trained.
    """
    with nullcontext() if model.folder is None else folder_lock(model.folder), _says_what_is_kept():
        result = _tuned(model, steps, guidance, condition, rows, rounds, seed, quiet)
        others = [one for one in model.tuned if (one.steps, one.guidance) != (steps, guidance)]
        model.tuned = (*others, result.sampler)
        if model.folder is not None:
            model.save(model.folder)
    return result


@contextmanager
def _says_what_is_kept() -> Iterator[None]:
    """Let the interrupt of a tuning say what became of it: it is the last line of a traceback."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if interrupt.args:
            raise
        said = "nothing of this tuning is kept; the same call begins it again"
        raise type(interrupt)(said) from None


def _tuned(
    model: Model,
    steps: int,
    guidance: float,
    condition: Condition | None,
    rows: int,
    rounds: int,
    seed: int,
    quiet: bool,
) -> TuneResult:
    check_rows(rows)
    classes = torch.arange(rows) % len(model.classes) if model.classes and condition is None else None
    known = model.condition_of(rows, classes, None, condition)
    request = SampleRequest(rows=rows, condition=known, guidance=guidance)
    known = None if known is None else known.to(model.device)
    noise_rng = RowSeeds.of(fold(seed, 1), rows)
    noise = model.denoiser.process.prior((rows, *model.denoiser.shape), noise_rng, device=model.device)
    from rich.console import Console

    progress, errors = Progress("tune: rounds, at most", rounds, quiet), list[float]()

    def report(error: float) -> None:
        status.update(f"tuning {steps} steps: error {error:.4f}")
        progress.advance(1 if errors else 0)  # the first call is before the first round
        errors.append(error)

    with Console(stderr=True, quiet=quiet).status(f"tuning {steps} steps") as status:
        result = tune(
            request.steer(model.denoiser),
            steps,
            noise,
            known,
            rounds,
            progress=report,
        )
    return result._replace(sampler=dataclasses.replace(result.sampler, guidance=guidance))
