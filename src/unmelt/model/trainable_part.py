"""A part of a system that is trained by itself, such as an autoencoder, a vocoder or a drafter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, final

import torch

from unmelt.arguments import checked
from unmelt.device import device_named
from unmelt.model import fitting
from unmelt.model.stored import Stored
from unmelt.train import Execution, Logger, TrainStep
from unmelt.train.logger import logger_names

P = TypeVar("P", bound="TrainablePart")


class TrainablePart(Stored):
    """A stored object with one way to learn, which its subclass names."""

    @abstractmethod
    def train_step(self) -> TrainStep:
        """What one training step does.

        Returns:
            The networks and their losses.

        Raises:
            UsageError: If there are no data to learn from.
        """

    def finish(self) -> None:
        """Do what follows the last training step: nothing."""

    @final
    @checked("model.fit")
    def fit(
        self: P,
        out: str | Path | None = None,
        device: str | torch.device = "auto",
        quiet: bool = False,
        execution: Execution | None = None,
        log_to: str | Sequence[Logger] = "none",
        allow_other_data: bool = False,
    ) -> P:
        """Train to the last step, or resume the interrupted run in `out`.

        Args:
            out: The run folder. None keeps nothing.
            device: Where to compute; "auto" is a GPU where there is one.
            quiet: Whether to print nothing.
            execution: How it is computed: compiled, in parts, sharded.
            log_to: Loggers of the run, as of `Model.fit`.
            allow_other_data: Whether the run in `out` may go on with other data than it was started with.

        Returns:
            The object itself, fitted.

        Raises:
            UsageError: If it has no data to learn from, `out` holds another run or one of other data, or `log_to` names
                no logger.
        """
        step = self.train_step()
        if isinstance(log_to, str):
            logger_names(log_to)
        self.folder = None if out is None else Path(out)
        fitting.fit(self, device_named(device), execution, quiet, log_to, step, allow_other_data)
        self.finish()
        return self
