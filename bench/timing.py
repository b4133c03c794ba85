"""Fair timing on a machine that is never quite still, and the record of how a table came about.

Contestants run in one process, in turns, the order of each round drawn anew. What is compared is always two times of
the same round, and what is reported is the median of those ratios or differences, so that a machine that slows down
for a minute slows everybody down. Seconds are there for orientation; the ratios are the result.
"""

import argparse
import gc
import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import peers
import torch
from rich import box
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
WIDTH = 120
"""Of tables that are written to no terminal."""

Name = TypeVar("Name", bound=Hashable)
Measured = TypeVar("Measured")


def interleave(
    contestants: Mapping[Name, Callable[[], Measured]], rounds: int, warmup: int = 2, seed: int = 0
) -> dict[Name, list[Measured]]:
    """What each contestant returned in each round: the seconds that it measured itself.

    Every round runs all of them once, in an order of its own. The garbage collector waits outside.
    """
    order, draw = list(contestants), random.Random(seed)
    for _ in range(warmup):
        for name in order:
            contestants[name]()
    results: dict[Name, list[Measured]] = {name: [] for name in contestants}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            draw.shuffle(order)
            for name in order:
                results[name].append(contestants[name]())
            gc.collect()
    finally:
        gc.enable()
    return results


def ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(these, those, strict=True)]


def differences(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """Round by round."""
    return [a - b for a, b in zip(these, those, strict=True)]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """The quartiles: half of all rounds lie between them."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4)
    return low, high


@dataclass
class Report:
    """One table, what it was measured with, and what it says.

    columns   of the table: name in the JSON, heading in the table, format of the number
    rows      one dict a row, by those names
    found     the targets and what was reached, in numbers
    notes     sentences to print under the table
    """

    name: str
    title: str
    columns: list[tuple[str, str, str]]
    rows: list[dict[str, Any]] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    made: dict[str, Any] = field(default_factory=dict)

    def cells(self, row: dict[str, Any]) -> list[str]:
        return [format(row[name], how) if row.get(name) is not None else "" for name, _, how in self.columns]

    def json(self) -> str:
        return json.dumps(
            {
                "benchmark": self.name,
                "title": self.title,
                "found": self.found,
                "rows": self.rows,
                "notes": self.notes,
                "made": self.made,
            },
            indent=2,
        )

    def markdown(self) -> str:
        headings = [heading for _, heading, _ in self.columns]
        lines = [f"# {self.title}", "", _line(headings), _line(["---"] * len(headings))]
        lines += [_line(self.cells(row)) for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes), "", *(f"- {k}: {_said(v)}" for k, v in self.made.items())]
        return "\n".join(lines) + "\n"

    def show(self) -> None:
        table = Table(title=self.title, box=box.SIMPLE_HEAD, title_justify="left")
        for name, heading, how in self.columns:
            table.add_column(heading, justify="right" if how else "left", no_wrap=name in ("library", "range"))
        for row in self.rows:
            table.add_row(*self.cells(row))
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH)
        console.print(table)
        for note in [*self.notes, *(f"{key}: {_said(value)}" for key, value in self.made.items())]:
            console.print(note, highlight=False, markup=False)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _said(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _device() -> str:
    own = f"CPU, {_processor()}, {os.cpu_count()} cores"
    return f"{torch.cuda.get_device_name()}; {own}" if torch.cuda.is_available() else own


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "../src", "*.py")
        return git("rev-parse", "--short", "HEAD") + (" and uncommitted changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def made() -> dict[str, Any]:
    """Command, device, threads, versions, commit, date; nothing that says whose machine it was."""
    return {
        "command": shlex.join(["python", f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "device": _device(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": peers.versions(),
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def arguments(doc: str | None, rounds: int) -> argparse.Namespace:
    """What every benchmark can be asked."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/NAME.json and NAME.md")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds to take medians over ({rounds})")
    return parser.parse_args()


def publish(report: Report, options: argparse.Namespace, seconds: float) -> None:
    """Print the report as it was asked for, and store it if it is to be stored."""
    rounds = {"rounds": options.rounds} if "rounds" in options else {}
    report.made = {**made(), **rounds, "seconds": round(seconds)}
    if options.save:
        folder = HERE / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{report.name}.json").write_text(report.json() + "\n", encoding="utf-8")
        (folder / f"{report.name}.md").write_text(report.markdown(), encoding="utf-8")
    if options.json:
        print(report.json())
    else:
        report.show()
