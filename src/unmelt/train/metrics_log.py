"""The log of a run: `metrics.jsonl`, a progress bar, and the loggers that it is reported to."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from unmelt.device import peak_memory
from unmelt.errors import UsageError
from unmelt.train.atomic_files import write
from unmelt.train.event import Event
from unmelt.train.logger import Logger

FIELDS = ("step", "loss", "lr", "rows_per_second", "seconds", "skipped", "memory")
"""Fields of every line of metrics.jsonl. Some lines have `held_out`, and `loss/NAME` for each further network."""

PRINT_EVERY = 10.0
"""Seconds between printed lines where there is no terminal for a progress bar."""


class MetricsLog:
    """The log of a run, a context manager around it: rates are measured from its start.

    Args:
        path: The metrics.jsonl to append to, one JSON object per line; None writes no file.
        done: Training steps already taken. Later lines, of a run that was killed, are dropped.
        steps: Training steps in all.
        batch: Rows per step.
        quiet: Whether to print nothing.
        loggers: Loggers that receive the same numbers. They are closed with the log.
        device: Device whose peak memory is reported.

    Raises:
        UsageError: If the file is damaged other than in its last line.
    """

    def __init__(
        self,
        path: Path | None,
        done: int,
        steps: int,
        batch: int,
        quiet: bool = False,
        loggers: Sequence[Logger] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.path, self.done, self.steps, self.batch = path, done, steps, batch
        self.quiet, self.loggers, self.device = quiet, loggers, torch.device(device)
        self.console = Console(stderr=True, quiet=quiet)
        self.seconds = 0.0
        if path is not None:
            lines = [line for line in read_metrics(path) if line["step"] <= done]
            write(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
            self.seconds = lines[-1]["seconds"] if lines else 0.0
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("step {task.completed:,} of {task.total:,}"),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[rate]:,.0f} rows/s"),
            TextColumn("{task.fields[memory]:.1f} GB"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=steps, completed=done, loss=float("nan"), rate=0.0, memory=0.0)

    def __enter__(self) -> MetricsLog:
        self.bar.start()
        self.since, self.printed = time.perf_counter(), -math.inf
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        for logger in self.loggers:
            logger.close()

    def add(
        self,
        step: int,
        loss: float,
        lr: float,
        skipped: int = 0,
        held_out: float | None = None,
        losses: Mapping[str, float] | None = None,
    ) -> None:
        """Append one line about the steps since the last call.

        Args:
            step: Number of training steps taken so far.
            loss: Mean training loss over these steps.
            lr: Learning rate of the last of them.
            skipped: How many of them were left out because their gradients were not finite.
            held_out: Loss of the averaged weights on held-out data, None where it was not evaluated.
            losses: Mean losses of further networks, as `loss/NAME`.

        Raises:
            UsageError: If the file cannot be written, as on a full disk.
        """
        now = time.perf_counter()
        rate = (step - self.done) * self.batch / max(now - self.since, 1e-9)
        self.seconds += now - self.since
        self.since, self.done = now, step
        line = dict(zip(FIELDS, (step, loss, lr, rate, self.seconds, skipped, peak_memory(self.device)), strict=True))
        line |= ({} if held_out is None else {"held_out": held_out}) | dict(losses or {})
        if self.path is not None:
            self._append(json.dumps(line) + "\n", self.path)
        for logger in self.loggers:
            logger.scalars(step, {name: value for name, value in line.items() if name != "step"})
        if skipped:
            self.console.print(f"{skipped} of the steps up to {step} were skipped: their gradients were not finite")
        self.bar.update(self.task, completed=step, loss=loss, rate=rate, memory=line["memory"] / 1e9)
        extra = "" if held_out is None else f"  held out {held_out:.4f}"
        self._print(step, f"  loss {loss:.4f}{extra}", rate, now)

    def progress(self, step: int) -> None:
        """Show how far the run is, between two calls of `add`: nothing is written.

        Args:
            step: Number of training steps taken so far.
        """
        now = time.perf_counter()
        rate = (step - self.done) * self.batch / max(now - self.since, 1e-9)
        self.bar.update(self.task, completed=step, rate=rate)
        self._print(step, "", rate, now)

    def _print(self, step: int, numbers: str, rate: float, now: float) -> None:
        """A line, where there is no terminal for a progress bar, unless the last one was printed just now."""
        if self.bar.disable and (now - self.printed > PRINT_EVERY or step == self.steps):
            self.printed = now
            speed = f"{rate:,.{0 if rate >= 10 else 1}f} rows/s"
            self.say(f"step {step:,} of {self.steps:,}{numbers}  {speed}{self._eta(step, rate)}")

    def _eta(self, step: int, rate: float) -> str:
        """The time that is left at the present rate, as the progress bar has it; nothing after the last step."""
        left = (self.steps - step) * self.batch / rate if rate > 0 else 0.0
        return f"  ETA {timedelta(seconds=round(left))}" if left else ""

    def say(self, line: str) -> None:
        """Print a line above the progress bar, or between the lines that stand for it.

        Args:
            line: The line.
        """
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def add_event(self, event: Event) -> None:
        """Append the line of a log event.

        Args:
            event: An event of kind "log".
        """
        numbers = event.numbers
        self.add(
            event.step,
            numbers["loss"],
            numbers["lr"],
            int(numbers["skipped"]),
            numbers.get("held_out"),
            {name: value for name, value in numbers.items() if name.startswith("loss/")},
        )

    @staticmethod
    def _append(text: str, path: Path) -> None:
        try:
            with open(path, "a", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror})",
                "room on the disk; what was last saved is whole, and the same command goes on from it",
                "the same command, once there is room",
            ) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a metrics.jsonl. A last line cut short by a crash is left out.

    Args:
        path: The file; one that is not there has no lines.

    Returns:
        One dict per line, with `FIELDS`, and `held_out` and `loss/NAME` where the line has them.

    Raises:
        UsageError: If any other line is damaged.
    """
    if not path.exists():
        return []
    lines, texts = [], path.read_bytes().splitlines()
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            optional = [name for name in line if name == "held_out" or name.startswith("loss/")]
            lines.append({name: line[name] for name in (*FIELDS, *optional)})
        except (ValueError, KeyError, TypeError, AttributeError):
            if number < len(texts):
                raise UsageError(
                    f"{path}, line {number}, is damaged",
                    f"one JSON object a line, with {', '.join(FIELDS)}",
                    f"the file without that line, or without {path.name} at all",
                ) from None
    return lines
