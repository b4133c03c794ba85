"""`unmelt show RUN`: how far it is, how it went, what it is made of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from unmelt import card, run
from unmelt.cli.output import print_json, table
from unmelt.cli.runs import RunFolder
from unmelt.train import read_metrics

ACROSS, HIGH = 60, 6
"""Columns and rows of a curve."""

Line = dict[str, Any]


def _means(values: Sequence[float]) -> np.ndarray:
    """A number a column: the means of stretches that follow one another, or each value over several."""
    parts = np.array_split(np.asarray(values, dtype=float), min(ACROSS, len(values)))
    return np.array([parts[column * len(parts) // ACROSS].mean() for column in range(ACROSS)])


def _drawn(values: Sequence[float]) -> list[str]:
    """A curve in text, its largest and its smallest number beside it; by powers of ten where it falls by far."""
    means = _means(values)
    low, high = means.min(), means.max()
    means = np.log(means / low) if low > 0 and high > 10 * low else means - low
    share = means / (means.max() or 1.0)
    filled = 1 + np.round(share * (8 * HIGH - 1)).astype(int)  # eighths of a row
    rows = ["".join(" ▁▂▃▄▅▆▇█"[min(8, max(0, n - 8 * row))] for n in filled) for row in reversed(range(HIGH))]
    beside = [f"{high:.4g}", *("" for _ in rows[1:-1]), f"{low:.4g}"]
    return [f"{number:>9} {row}" for number, row in zip(beside, rows, strict=True)]


def _curves(lines: Sequence[Line]) -> None:
    """The loss, and what was held out's, against steps."""
    for name, field in (("loss", "loss"), ("loss on what is held out", "held_out")):
        known = [line for line in lines if field in line]
        if len(known) < 2:
            continue
        ends = known[0]["step"], known[-1]["step"]
        Console().print(f"\n{name}", style="bold")
        for row in _drawn([line[field] for line in known]):
            print(row)
        print(f"{'step':>9} {ends[0]:<{ACROSS // 2},}{ends[1]:>{ACROSS // 2},}")


def _progress(lines: Sequence[Line]) -> Line:
    if not lines:
        return {"loss": "none"}
    first, last, aside = lines[0], lines[-1], [line for line in lines if "held_out" in line]
    skipped = sum(line["skipped"] for line in lines)
    return {
        "seconds": f"{last['seconds']:,.1f}",
        "rows/s": f"{np.median([line['rows_per_second'] for line in lines]):,.0f}",
        "memory": f"{last['memory'] / 1e9:.2f} GB at most",
        "loss": f"{first['loss']:.4f} -> {last['loss']:.4f}",
        **({"held out": f"{aside[0]['held_out']:.4f} -> {aside[-1]['held_out']:.4f}"} if aside else {}),
        "learning rate": f"{last['lr']:.3g} at step {last['step']:,}",
        **({"left out": f"{skipped:,} steps, whose gradients were not finite"} if skipped else {}),
    }


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file, and of all that lies in each folder."""
    return {
        entry.name + "/" * entry.is_dir(): sum(
            file.stat().st_size for file in ([entry] if entry.is_file() else entry.rglob("*")) if file.is_file()
        )
        for entry in sorted(folder.iterdir(), key=lambda entry: (entry.is_file(), entry.name))
    }


def show(folder: RunFolder, /, json: bool = False) -> None:
    """Say what a run folder holds: recipe, settings, curves, parts, sizes. A run may still be going on.

    Args:
        json: Print one JSON object.
    """
    lines = read_metrics(folder / run.METRICS) if folder.is_dir() else []
    if lines and not (folder / run.CONFIG).exists():  # begun, and not saved for the first time yet
        if json:
            print_json({"metrics": lines, "files": _sizes(folder)})
        else:
            table({"steps": f"{lines[-1]['step']:,}; nothing is saved yet", **_progress(lines)}, str(folder))
            _curves(lines)
        return
    about = run.read_run(folder).about
    if json:
        print_json({**about, "metrics": lines, "files": _sizes(folder)})
        return
    training = about["model"]["training"] or {"steps": 0}
    going = f", saved; now at {lines[-1]['step']:,}" if lines and lines[-1]["step"] > about["steps_done"] else ""
    table(
        {
            "recipe": about["origin"].get("recipe", "none"),
            "parameters": f"{about['parameters']:,}",
            "steps": f"{about['steps_done']:,} of {training['steps']:,}{going}",
            "classes": ", ".join(about["classes"]) or "none",
            **_progress(lines),
            **({"notes": about["notes"]} if about["notes"] else {}),
        },
        str(folder),
    )
    _curves(lines)
    table(about["origin"].get("settings", {}), "\nsettings")
    table({name: card.short(part) for name, part in about["model"].items() if name != "training"}, "\nparts")
    table({name: f"{size:,} bytes" for name, size in _sizes(folder).items()}, "\nfiles")
