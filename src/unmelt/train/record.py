"""What a run says about itself while it learns: `metrics.jsonl`, and a progress bar with loss and rate."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unmelt.errors import UsageError

FIELDS = ("step", "loss", "lr", "rows_per_second", "seconds")
"""What a line of metrics.jsonl holds."""

SPOKEN_EVERY = 10.0
"""Seconds between lines where there is no terminal to draw a bar on."""


class Record:
    """Told of every stretch of training; a context manager around the run.

    path    the metrics.jsonl to append to, one JSON object a line; None to keep nothing
    done    steps already taken: later lines of an earlier, interrupted run are dropped
    """

    def __init__(self, path: Path | None, done: int, steps: int, batch: int, quiet: bool = False) -> None:
        self.path, self.done, self.batch = path, done, batch
        self.console = Console(stderr=True, quiet=quiet)
        self.seconds = 0.0
        if path is not None:
            kept = [line for line in read_metrics(path) if line["step"] <= done]
            path.write_text("".join(json.dumps(line) + "\n" for line in kept))
            self.seconds = kept[-1]["seconds"] if kept else 0.0
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[rate]:,.0f} rows/s"),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=steps, completed=done, loss=float("nan"), rate=0.0)

    def __enter__(self) -> Record:
        self.bar.start()
        self.since = self.spoken = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def add(self, step: int, loss: float, lr: float) -> None:
        """The mean loss of the steps since the last call, up to `step`."""
        now = time.perf_counter()
        rate = (step - self.done) * self.batch / max(now - self.since, 1e-9)
        self.seconds += now - self.since
        self.since, self.done = now, step
        if self.path is not None:
            line = dict(zip(FIELDS, (step, loss, lr, rate, self.seconds), strict=True))
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")
        self.bar.update(self.task, completed=step, loss=loss, rate=rate)
        if self.bar.disable and (now - self.spoken > SPOKEN_EVERY or step == self.bar.tasks[0].total):
            self.spoken = now
            self.console.print(f"step {step}  loss {loss:.4f}  {rate:,.0f} rows/s", highlight=False)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last line cut short by a crash is left out."""
    if not path.exists():
        return []
    lines, texts = [], path.read_bytes().splitlines()
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            lines.append({name: line[name] for name in FIELDS})
        except (ValueError, KeyError, TypeError):
            if number < len(texts):
                raise UsageError(
                    f"{path}, line {number}, is damaged",
                    f"one JSON object a line, with {', '.join(FIELDS)}",
                    f"the file without that line, or without {path.name} at all",
                ) from None
    return lines
