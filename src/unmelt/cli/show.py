"""`unmelt show RUN`: progress, losses, settings, parts and files of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmelt.cli.output import draws_blocks, print_json
from unmelt.cli.runs import RunFolder
from unmelt.cli.table import console, table

ACROSS, HIGH = 60, 6
"""Columns and rows of a plot in text."""

BLOCKS, ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " ....::::"
"""Characters that fill none to eight eighths of their height, and what stands for them without Unicode."""

Line = dict[str, Any]


def _means(values: Sequence[float]) -> np.ndarray:
    """One number for each column: means of consecutive stretches, or each value repeated over several columns."""
    parts = np.array_split(np.asarray(values, dtype=float), min(ACROSS, len(values)))
    return np.array([parts[column * len(parts) // ACROSS].mean() for column in range(ACROSS)])


def _plot(values: Sequence[float]) -> list[str]:
    """A plot in text, with the largest and the smallest number beside it; logarithmic if they differ by 10 or more."""
    means = _means(values)
    low, high = means.min(), means.max()
    means = np.log(means / low) if low > 0 and high > 10 * low else means - low
    share = means / (means.max() or 1.0)
    filled = 1 + np.round(share * (8 * HIGH - 1)).astype(int)  # eighths of a row
    heights = BLOCKS if draws_blocks() else ASCII_BLOCKS
    rows = ["".join(heights[min(8, max(0, n - 8 * row))] for n in filled) for row in reversed(range(HIGH))]
    beside = [f"{high:.4g}", *("" for _ in rows[1:-1]), f"{low:.4g}"]
    return [f"{number:>9} {row}" for number, row in zip(beside, rows, strict=True)]


def _curves(lines: Sequence[Line]) -> None:
    """Print the training loss and the held-out loss against steps."""
    for name, field in (("loss", "loss"), ("held-out loss", "held_out")):
        known = [line for line in lines if field in line]
        if len(known) < 2:
            continue
        ends = known[0]["step"], known[-1]["step"]
        console().print(f"\n{name}", style="bold")
        for row in _plot([line[field] for line in known]):
            print(row)
        print(f"{'step':>9} {ends[0]:<{ACROSS // 2},}{ends[1]:>{ACROSS // 2},}")


def _progress(lines: Sequence[Line]) -> Line:
    if not lines:
        return {"loss": "none"}
    first, last, held_out = lines[0], lines[-1], [line for line in lines if "held_out" in line]
    skipped = sum(line["skipped"] for line in lines)
    return {
        "seconds": f"{last['seconds']:,.1f}",
        "rows/s": f"{np.median([line['rows_per_second'] for line in lines]):,.0f}",
        "memory": f"{last['memory'] / 1e9:.2f} GB at most",
        "loss": f"{first['loss']:.4f} -> {last['loss']:.4f}",
        **({"held out": f"{held_out[0]['held_out']:.4f} -> {held_out[-1]['held_out']:.4f}"} if held_out else {}),
        "learning rate": f"{last['lr']:.3g} at step {last['step']:,}",
        **({"skipped": f"{skipped:,} steps, whose gradients were not finite"} if skipped else {}),
    }


def _sizes(folder: Path) -> dict[str, int]:
    """Sizes in bytes of each file, and of each folder with all that is in it."""
    return {
        entry.name + "/" * entry.is_dir(): sum(
            file.stat().st_size for file in ([entry] if entry.is_file() else entry.rglob("*")) if file.is_file()
        )
        for entry in sorted(folder.iterdir(), key=lambda entry: (entry.is_file(), entry.name))
    }


def show(folder: RunFolder, /, json: bool = False) -> None:
    """Show what a run folder holds: recipe, settings, losses, parts and files. The run may still be training.

    Args:
        folder: The run folder.
        json: Print one JSON object and nothing else.
    """
    from unmelt import card, run_folder
    from unmelt.shipped import shipped
    from unmelt.train import read_metrics

    folder = shipped(folder) or folder
    lines = read_metrics(folder / run_folder.METRICS) if folder.is_dir() else []
    if lines and not (folder / run_folder.CONFIG).exists():  # training has begun, and has not saved yet
        if json:
            print_json({"metrics": lines, "files": _sizes(folder)})
        else:
            table({"steps": f"{lines[-1]['step']:,}; nothing is saved yet", **_progress(lines)}, str(folder))
            _curves(lines)
        return
    about = run_folder.read_run(folder).about
    if json:
        print_json({**about, "metrics": lines, "files": _sizes(folder)})
        return
    training = about["model"]["training"] or {"steps": 0}
    ahead = f", saved; now at {lines[-1]['step']:,}" if lines and lines[-1]["step"] > about["steps_done"] else ""
    table(
        {
            "recipe": about["origin"].get("recipe", "none"),
            "parameters": f"{about['parameters']:,}",
            "steps": f"{about['steps_done']:,} of {training['steps']:,}{ahead}",
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
