"""Fewer passes at equal quality: a token a pass, or as many as a threshold or a bound on their entropy lets through.

    python bench/passes.py --runs runs/code_ar runs/code --save

Quality is what the autoregressive run says of what was written (nats a token), its own entropy (nats of unigrams a
token), and the share of its lines that are Python; with standard errors over rows. Passes are counted row by row.
Seconds are of one row, beside the plain loop: the whole row read anew in each pass, the surest token written.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import timing
import torch
from torch import Tensor

from unmelt.cli.runs import with_data
from unmelt.ledger.quality import quality, written
from unmelt.ledger.speed import counted
from unmelt.ledger.ways import Way
from unmelt.model import TextModel
from unmelt.sampler import Sampler
from unmelt.sampler.tokens import Bounded, Confidence, LeftToRight, Random, Threshold, Unmask

COLUMNS = [
    ("library", "written", ""),
    ("passes", "passes a row", ".1f"),
    ("fewer", "times fewer", ".2f"),
    ("judge", "judge, nats a token", ".3f"),
    ("judge_error", "±", ".3f"),
    ("entropy", "own entropy", ".3f"),
    ("entropy_error", "±", ".3f"),
    ("lines", "lines of Python", ".3f"),
    ("lines_error", "±", ".3f"),
    ("one", "seconds, 1 row", ".2f"),
    ("faster", "times faster than the plain loop", ".2f"),
    ("many", "seconds, 16 rows", ".2f"),
]


class Kind(NamedTuple):
    """How to write, and what it is compared with: the same order, one token a pass."""

    sampler: Sampler
    steps: int
    beside: str | None = None


def kinds(tokens: int) -> dict[str, Kind]:
    anywhere, surest = "anywhere, a token a pass", "the surest, a token a pass (the plain loop)"
    blocks = "in blocks, a token a pass, cached"
    return {
        surest: Kind(Unmask(Confidence()), tokens),
        anywhere: Kind(Unmask(Random()), tokens),
        **{f"anywhere, {n:g} nats a pass": Kind(Unmask(Random(), Bounded(n)), 1, anywhere) for n in (10.0, 12.0, 30.0)},
        blocks: Kind(Unmask(Confidence(), cache=True), tokens),
        "in blocks, above 0.9, cached": Kind(Unmask(Confidence(), Threshold(0.9), cache=True), 1, blocks),
        "in blocks, 0.1 nats a pass, cached": Kind(Unmask(Confidence(), Bounded(0.1), cache=True), 1, blocks),
    }


def judged(x: Tensor, writer: TextModel, judge: TextModel) -> dict[str, float]:
    """Row by row, with the error of the mean."""
    rows = [quality(row[None], writer, judge) for row in x]
    found = {}
    for name in ("judge", "entropy", "lines"):
        values = torch.tensor([getattr(each, name) for each in rows], dtype=torch.float64)
        found |= {name: values.mean().item(), f"{name}_error": values.std().item() / len(values) ** 0.5}
    return found


def passes_a_row(model: TextModel, write: Callable[[], Tensor]) -> tuple[Tensor, float]:
    with counted(model.denoiser.backbone) as passes:
        x = write()
    return x, passes.rows / len(x)


def seconds(model: TextModel, kind: Kind, tokens: int, rows: int, rounds: int) -> float:
    taken = []
    for number in range(rounds):
        start = time.perf_counter()
        model.sample(rows, length=tokens, steps=kind.steps, sampler=kind.sampler, seed=number)
        taken.append(time.perf_counter() - start)
    return min(taken)


def _text(folder: Path) -> TextModel:
    model = with_data(folder, "cpu")
    assert isinstance(model, TextModel)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/passes.json and .md")
    parser.add_argument("--runs", type=Path, nargs=2, default=[Path("runs/code_ar"), Path("runs/code")])
    parser.add_argument("--tokens", type=int, default=256, help="in a row, for quality")
    parser.add_argument("--rows", type=int, default=64, help="for quality")
    parser.add_argument("--timed", type=int, default=256, help="tokens in a row, for time")
    parser.add_argument("--many", type=int, default=16, help="rows at once, for time; 0 leaves that out")
    parser.add_argument("--rounds", type=int, default=2, help="the fastest counts")
    options, start = parser.parse_args(), time.perf_counter()
    model = _text(options.runs[1])
    report = timing.Report("passes", f"Passes and quality, {options.tokens} tokens from nothing", COLUMNS)
    ways, made = kinds(options.tokens), dict[str, Tensor]()
    rows: dict[str, dict[str, Any]] = {}
    for name, kind in ways.items():
        way = Way(name, "", {"sampler": kind.sampler, "steps": kind.steps}, 0)
        made[name], passes = passes_a_row(model, lambda way=way: written(model, way, options.tokens, options.rows))
        rows[name] = {"library": name, "passes": passes}
        if kind.beside:
            rows[name]["fewer"] = rows[kind.beside]["passes"] / passes
    judge, plain, left = _text(options.runs[0]), next(iter(rows)), "from left to right, cached"
    rows[left] = {"library": left}
    for name, each in rows.items():
        of, kind = (model, ways[name]) if name in ways else (judge, Kind(Unmask(LeftToRight(), cache=True), 2))
        kind = kind._replace(steps=1 if kind.steps == 1 else options.timed)
        each["one"] = seconds(of, kind, options.timed, 1, options.rounds)
        each["faster"] = rows[plain]["one"] / each["one"]
        if options.many:
            each["many"] = seconds(of, kind, options.timed, options.many, 1)
    for name, x in made.items():
        rows[name] |= judged(x, model, judge)
    real = judge.held_out.values[: options.rows, : options.tokens]  # type: ignore[union-attr]
    rows["real"] = {"library": "real text, held out", **judged(real, judge, judge)}
    report.rows = list(rows.values())
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
