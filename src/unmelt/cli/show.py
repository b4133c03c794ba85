"""`unmelt show RUN`: recipe, settings, sizes, parts, curve."""

from collections.abc import Sequence

import numpy as np

from unmelt import card, run
from unmelt.cli.runs import RunFolder
from unmelt.cli.tell import print_json, table
from unmelt.train import read_metrics


def _spark(values: Sequence[float], width: int = 60) -> str:
    """A curve in one line of text."""
    if not values:
        return ""
    chosen = [values[int(i)] for i in np.linspace(0, len(values) - 1, min(width, len(values)))]
    low, high = min(chosen), max(chosen)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (v - low) / (high - low or 1))] for v in chosen)


def show(folder: RunFolder, /, json: bool = False) -> None:
    """Say what a run folder holds: recipe, settings, sizes, parts, curve.

    Args:
        json: Print one JSON object.
    """
    about = run.read_run(folder).about
    lines = read_metrics(folder / run.METRICS)
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
    if json:
        print_json({**about, "metrics": lines, "files": sizes})
        return
    losses = [line["loss"] for line in lines]
    training = about["model"]["training"] or {"steps": 0}
    table(
        {
            "recipe": about["origin"].get("recipe", "none"),
            "parameters": f"{about['parameters']:,}",
            "steps": f"{about['steps_done']} of {training['steps']}",
            "classes": ", ".join(about["classes"]) or "none",
            "seconds": round(lines[-1]["seconds"], 1) if lines else 0,
            "loss": f"{losses[0]:.4f} -> {losses[-1]:.4f}" if losses else "none",
            "curve": _spark(losses),
            **({"notes": about["notes"]} if about["notes"] else {}),
        },
        str(folder),
    )
    table(about["origin"].get("settings", {}), "\nsettings")
    table({name: card.short(part) for name, part in about["model"].items() if name != "training"}, "\nparts")
    table({name: f"{size:,} bytes" for name, size in sizes.items()}, "\nfiles")
