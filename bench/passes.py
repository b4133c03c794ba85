"""Fewer passes at equal quality: a token a pass, or as many as a threshold or a bound on their entropy lets through.

    python bench/passes.py --runs runs/code_ar runs/code --save

Quality is what the autoregressive run says of what was written (nats a token), its own entropy (nats of unigrams a
token), and the share of its lines that are Python; with standard errors over rows. What is lost is known more closely:
the log of how often the writer writes a row so, over how often it would a token a pass, the same places in the same
order. Passes are counted row by row. Seconds are beside the plain loop: the whole row read anew in each pass, the
surest token written.
"""

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import timing
import torch
from torch import Tensor

from unmelt.compare.decoding_modes import DecodingMode
from unmelt.compare.quality import generate_rows, quality
from unmelt.compare.speed import count_passes
from unmelt.condition import Condition
from unmelt.denoiser import Denoiser
from unmelt.model import TextModel
from unmelt.posterior import Categorical
from unmelt.recipe import with_data
from unmelt.rng import RowSeeds
from unmelt.sampler import Sampler
from unmelt.sampler.tokens import Confidence, EntropyBound, LeftToRight, Random, Threshold, Unmask

COLUMNS = [
    ("library", "written", ""),
    ("passes", "passes a row", ".1f"),
    ("fewer", "times fewer", ".2f"),
    ("lost", "lost, nats a token", ".4f"),
    ("lost_error", "±", ".4f"),
    ("rows", "rows", "d"),
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
    """How to write, the family whose first is one token a pass in the same order, and whether to compare closely."""

    sampler: Sampler
    steps: int
    beside: str | None = None
    close: bool = False


def kinds(tokens: int) -> dict[str, Kind]:
    anywhere, greedy_sampler, blocks = "anywhere", "the surest", "in blocks, cached"
    one = "a token a pass"
    few, many = (EntropyBound(tokens * share) for share in (3 / 32, 5 / 16))  # in longer rows there is room for more
    return {
        f"{greedy_sampler}, {one} (the plain loop)": Kind(Unmask(Confidence()), tokens, close=True),
        f"{greedy_sampler}, {few.entropy_budget:g} nats a pass, 12 apart": Kind(
            Unmask(Confidence(), few, min_distance=12), 1, greedy_sampler, True
        ),
        f"{greedy_sampler}, {many.entropy_budget:g} nats a pass, 6 apart": Kind(
            Unmask(Confidence(), many, min_distance=6), 1, greedy_sampler
        ),
        f"{anywhere}, {one}": Kind(Unmask(Random()), tokens, close=True),
        f"{anywhere}, {few.entropy_budget:g} nats a pass, 12 apart": Kind(
            Unmask(Random(), few, min_distance=12), 1, anywhere, True
        ),
        f"{anywhere}, {many.entropy_budget:g} nats a pass, 6 apart": Kind(
            Unmask(Random(), many, min_distance=6), 1, anywhere
        ),
        f"{anywhere}, {few.entropy_budget:g} nats a pass": Kind(Unmask(Random(), few), 1, anywhere),
        f"{blocks}, {one}": Kind(Unmask(Confidence(), cache=True), tokens),
        f"{blocks}, above 0.9": Kind(Unmask(Confidence(), Threshold(0.9), cache=True), 1, blocks),
        f"{blocks}, 1 nat a pass": Kind(Unmask(Confidence(), EntropyBound(1.0), cache=True), 1, blocks),
    }


class Seen:
    """A denoiser, and what it was asked about."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.process, self.shape = denoiser, denoiser.process, denoiser.shape
        self.rows: list[Tensor] = []

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Categorical:
        self.rows.append(x_t)
        belief = self.denoiser(x_t, t, condition)
        assert isinstance(belief, Categorical)
        return belief


@torch.no_grad()
def lost(model: TextModel, sampler: Sampler, tokens: int, rows: int) -> dict[str, float]:
    """log q - log p of rows that were written: q several at once, p the same one after the other; nats a token."""
    free, mask = model.denoiser.as_bidirectional, model.denoiser.process.mask  # type: ignore[union-attr]
    values, zero = [], torch.zeros(1, dtype=torch.float64)
    for seed in range(rows):
        seen, generator = Seen(free), torch.Generator().manual_seed(seed)
        x = torch.full((1, tokens), mask)
        done = sampler.step(seen, sampler.init(seen, x, zero + 1, RowSeeds.of(seed, 1)), zero).x
        total = 0.0
        for before, after in zip(seen.rows, [*seen.rows[1:], done], strict=True):
            places = (before != after)[0].nonzero()[:, 0]
            at = torch.arange(len(places))
            truth = after[0, places]
            total += free(before, zero).log_probabilities[0, places, truth].sum().item()
            turn = torch.randperm(len(places), generator=generator)  # in any order, one after the other
            partly = before.repeat(len(places), 1)
            partly[:, places] = torch.where(turn[None] < turn[:, None], truth, before[0, places])
            total -= free(partly, zero.expand(len(places))).log_probabilities[at, places, truth].sum().item()
        values.append(total / tokens)
    found = torch.tensor(values, dtype=torch.float64)
    return {"lost": found.mean().item(), "lost_error": found.std().item() / rows**0.5}


def judged(x: Tensor, writer: TextModel, judge: TextModel) -> dict[str, float]:
    """Row by row, with the error of the mean."""
    rows = [quality(row[None], writer, judge) for row in x]
    found = {}
    for name in ("judge", "entropy", "lines"):
        values = torch.tensor([getattr(each, name) for each in rows], dtype=torch.float64)
        found |= {name: values.mean().item(), f"{name}_error": values.std().item() / len(values) ** 0.5}
    return found


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
    parser.add_argument("--tokens", type=int, default=256, help="in a row")
    parser.add_argument("--rows", type=int, default=64, help="for quality")
    parser.add_argument("--lost", type=int, default=16, help="rows for what is lost by writing together")
    parser.add_argument("--many", type=int, default=16, help="rows at once, for time; 0 leaves that out")
    parser.add_argument("--rounds", type=int, default=2, help="the fastest counts")
    parser.add_argument("--close", type=int, default=64, help="rows for what is to be told apart closely")
    options, start = parser.parse_args(), time.perf_counter()
    model = _text(options.runs[1])
    name = "passes" if options.tokens == 256 else f"passes_{options.tokens}"
    report = timing.Report(name, f"Passes and quality, {options.tokens} tokens from nothing", COLUMNS)
    decoding_modes, made = kinds(options.tokens), dict[str, Tensor]()
    rows: dict[str, dict[str, Any]] = {}
    for name, kind in decoding_modes.items():
        mode = DecodingMode(name, "", {"sampler": kind.sampler, "steps": kind.steps}, 0)
        number = options.close if kind.close else options.rows
        with count_passes(model.denoiser.backbone) as passes:
            made[name] = generate_rows(model, mode, options.tokens, number)
        rows[name] = {"library": name, "passes": passes.rows / number, "rows": number}
        if kind.beside:
            plain = next(each for each in rows if each.startswith(kind.beside))
            rows[name]["fewer"] = rows[plain]["passes"] / rows[name]["passes"]
            if not kind.sampler.cache:  # type: ignore[attr-defined]
                rows[name] |= lost(model, kind.sampler, options.tokens, options.lost)
    judge, plain, left = _text(options.runs[0]), next(iter(rows)), "from left to right, cached"
    mode = DecodingMode(left, "", {"sampler": Unmask(LeftToRight(), cache=True), "steps": options.tokens}, 0)
    made[left] = generate_rows(judge, mode, options.tokens, options.rows)
    rows[left] = {"library": left, "passes": options.tokens, "rows": options.rows}
    for name, each in rows.items():
        of, kind = (
            (model, decoding_modes[name])
            if name in decoding_modes
            else (judge, Kind(Unmask(LeftToRight(), cache=True), 2))
        )
        kind = kind._replace(steps=1 if kind.steps == 1 else options.tokens)
        each["one"] = seconds(of, kind, options.tokens, 1, options.rounds)
        each["faster"] = rows[plain]["one"] / each["one"]
        if options.many:
            each["many"] = seconds(of, kind, options.tokens, options.many, 1)
    for name, x in made.items():
        rows[name] |= judged(x, model, judge)
    real = judge.held_out.values[: options.rows, : options.tokens]  # type: ignore[union-attr]
    rows["real"] = {"library": "real text, held out", **judged(real, judge, judge)}
    report.rows = list(rows.values())
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
