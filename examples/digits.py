"""From nothing to handwritten digits: train on real images, judge the samples, draw them. This is `make demo`.

    python examples/digits.py [--out runs/digits]

Stopped half-way, the same command goes on; run again, it only judges and draws.
"""

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import unmelt as um
from unmelt import recorded_scores
from unmelt.cli.script import run_script


def report(scores: dict[str, Any]) -> Table:
    """The scores beside what real images get."""
    table = Table(title=f"{scores['samples']} unguided samples, {scores['steps']} steps each", title_justify="left")
    for heading in ("", "samples", "real images", "what it means"):
        table.add_column(heading)
    accuracy, floor = scores["classifier_accuracy"], scores["classifier_floor"]
    table.add_row("classifier accuracy", f"{accuracy:.3f}", f"{floor:.3f}", "looks like the digit that was asked for")
    frechet, floor = scores["frechet"], scores["frechet_floor"]
    table.add_row("Fréchet distance", f"{frechet:.4f}", f"{floor:.4f}", "to held-out digits; lower is nearer")
    nearest, floor = scores["nearest_train"], scores["nearest_floor"]
    table.add_row("nearest training image", f"{nearest:.3f}", f"{floor:.3f}", "a copy would be at 0")
    return table


def main(out: Path = Path("runs/digits"), steps: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Train, judge, draw.

    Args:
        out: The run folder to write.
        steps: Training steps; the recipe's own number if not given.
        seed: Of everything.
    """
    console = Console(highlight=False)
    began = time.perf_counter()
    model = um.recipe.digits(seed=seed) if steps is None else um.recipe.digits(seed=seed, steps=steps)
    model.fit(out)
    trained = time.perf_counter()

    settings = {"samples": None, "minutes": 5.0, "steps": None, "guidance": 1.0, "seed": seed}
    asked = recorded_scores.question(out, model.source, model.held_out, **settings)
    scores = recorded_scores.recorded(out, asked)
    if scores is None:
        scores = model.evaluate(**settings)
        recorded_scores.record(out, asked, scores)
    else:
        console.print(f"weights and data are those that {out}/eval.json records the scores of")
    console.print(report(scores))

    model.picture(out / "samples.png", seed=seed)
    frames = list(model.trajectory(10, label=range(10), seed=seed))
    um.picture.strip([frame.x for frame in frames], [frame.t for frame in frames], path=out / "trajectory.png")
    console.print(f"training {trained - began:.0f} s, judging and drawing {time.perf_counter() - trained:.0f} s")
    console.print(f"pictures: {out}/samples.png, trajectory.png, loss.png")
    console.print(f"next: .venv/bin/unmelt show {out}, .venv/bin/unmelt sample {out} --label 3 --guidance 2")
    return scores


if __name__ == "__main__":
    sys.exit(run_script(main, go_on="the same command goes on from the last checkpoint"))
