"""What an evaluation buys: how far samplers end from where the noise must go, on problems that are solved exactly.

Every sampler starts from the same rows of noise and is asked for the end points of the probability-flow ODE, with 5,
10, 20 and 40 evaluations of the exact denoiser (of all rows at once). What is reported is the root mean square error
per coordinate. The problems are in `problems.py`; how the peers are driven, in `solvers_peers.py`.

A peer is as good as the best of everything it documents: each of its deterministic solvers on each of its grids, chosen
after the fact for every problem and every number of evaluations. All are tried on the first rows, and the best of each
library are measured on all rows. Ours are named in advance:

    stock    what a model does when nothing is said: learned, but of no problem that is here
    tuned    what it does after the sampler has learned this model, on other rows
"""

import argparse
import math
import sys
import time
from collections import Counter, deque
from typing import Any

import solvers_peers
import timing
import torch
from problems import Counted, Problem, SpentError, mixtures, ring
from solvers_peers import Contestant
from torch import Tensor

import unmelt as um

EVALUATIONS = (5, 10, 20, 40)
ROWS, TRIAL, FINALISTS = 4000, 250, 8
"""Rows in all; rows on which everybody is tried; how many of each library are measured on all."""

TARGETS = {"learned": {5: 0.5, 10: 0.5, 20: 0.5, 40: 0.5}, "tuned": {5: 0.1, 10: 0.1, 20: 0.2}}
"""Shares of the best peer's error."""


LEARNED = {5: 4000, 10: 4000, 20: 2000}
"""Rows of noise that a tuned sampler learns from; none of them is a row that it is judged on."""

ROUNDS, SEED = 25, 99


def learned_sampler(problem: Problem, evaluations: int) -> Tensor:
    return walked(problem, *um.sampler.learned_sampler(evaluations))


def tuned(problem: Problem, evaluations: int) -> Tensor | None:
    """What it does after learning; made for few steps, and left out beyond."""
    if evaluations not in LEARNED:
        return None
    sampler = learned(problem.denoiser, problem.title, evaluations)
    return walked(problem, sampler, sampler.grid)


LESSONS: dict[tuple[str, int], um.sampler.Tuned] = {}


def learned(denoiser: Counted, title: str, evaluations: int) -> um.sampler.Tuned:
    """Learned once for each problem and number of evaluations; what learning asks is not counted."""
    if (title, evaluations) not in LESSONS:
        left = denoiser.allowed - denoiser.spent
        denoiser.allow(10**9)
        generator = torch.Generator().manual_seed(SEED)
        noise = torch.randn(LEARNED[evaluations], *denoiser.shape, generator=generator, dtype=torch.float64)
        sigma = denoiser.process.schedule.sigma(torch.ones(1, dtype=torch.float64))
        start = time.perf_counter()
        LESSONS[title, evaluations] = um.sampler.tune(denoiser, evaluations, sigma * noise, rounds=ROUNDS).sampler
        print(f"{title}: {evaluations} steps learned in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        denoiser.allow(left)
    return LESSONS[title, evaluations]


def walked(problem: Problem, sampler: um.sampler.Sampler, grid: um.grid.Grid) -> Tensor:
    """The end points of our sampler on this grid, from the problem's noise."""
    denoiser, rows = problem.denoiser, len(problem.noise)
    t, *times = (knot.expand(rows) for knot in grid(denoiser.process.schedule))
    x = problem.noise * denoiser.process.level(t).sigma[:, None]
    state = sampler.init(denoiser, x, t, um.rng.RowSeeds.of(0, rows))
    return deque(um.sampler.walk(denoiser, sampler, state, times), maxlen=1).pop().x


OURS = (
    Contestant("unmelt", "learned", learned_sampler, free=False),
    Contestant("unmelt", "tuned", tuned, free=False),
)


Known = dict[tuple[str, int, int, str, str], float]
"""Errors, by data, rows, evaluations, library and name, of those who do not mind the schedule."""


def error(contestant: Contestant, problem: Problem, evaluations: int, known: Known) -> float:
    """Infinite for a sampler that cannot do it: too few evaluations, a singular system, a step of no size."""
    key = (problem.data, len(problem.noise), evaluations, contestant.library, contestant.name)
    if key in known:
        return known[key]
    problem.denoiser.allow(evaluations)
    try:
        x = contestant.run(problem, evaluations)
        found = math.inf if x is None else problem.error(x)
    except (SpentError, ArithmeticError, AssertionError, IndexError, RuntimeError, ValueError):
        found = math.inf
    found = found if math.isfinite(found) else math.inf
    if contestant.free:
        known[key] = found
    return found


@torch.no_grad()
def measure(problem: Problem, known: Known, notes: list[str]) -> list[dict[str, Any]]:
    """Everybody's error; those of each library that did best on the first rows, and ours, on all rows."""
    found, missing = solvers_peers.contestants(problem)
    notes += [note for note in missing if note not in notes]
    trial = problem.first(TRIAL)
    rows: list[dict[str, Any]] = []
    errors = []
    for number, contestant in enumerate(found):
        if number % 200 == 0:
            print(f"{problem.title}: {number} of {len(found)} peers' samplers tried", file=sys.stderr)
        errors.append([error(contestant, trial, evaluations, known) for evaluations in EVALUATIONS])
    for place, evaluations in enumerate(EVALUATIONS):
        here = []
        places: Counter[str] = Counter()
        for contestant, tried in sorted(zip(found, errors, strict=True), key=lambda pair: pair[1][place]):
            places[contestant.library] += 1
            here.append({"library": contestant.library, "sampler": contestant.name, "tried": tried[place]})
            final = places[contestant.library] <= FINALISTS
            here[-1]["error"] = error(contestant, problem, evaluations, known) if final else math.inf
        for ours in OURS:
            here.append({"library": ours.library, "sampler": ours.name, "tried": math.inf})
            here[-1]["error"] = error(ours, problem, evaluations, known)
        peer = min(row["error"] for row in here if _is_peer(row))
        cell = {"problem": problem.title, "evaluations": evaluations}
        rows += [{**cell, **row, "ratio": row["error"] / peer} for row in here]
    return rows


def _is_peer(row: dict[str, Any]) -> bool:
    return row["library"] != "unmelt"


def best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of one problem and number of evaluations: the best of each peer, and all of ours, best first."""
    kept: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["error"]):
        kept.setdefault(row["library"] if _is_peer(row) else row["sampler"], row)
    return [row for row in kept.values() if row["error"] < math.inf]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/solvers.json and solvers.md")
    parser.add_argument("--detail", action="store_true", help="list every sampler, not only the best of each library")
    options = parser.parse_args()
    options.rounds = 1
    start = time.perf_counter()
    solvers_peers.quiet()
    report = timing.Report(
        "solvers",
        "End-point error of samplers, by evaluations of the exact denoiser",
        [
            ("problem", "problem", ""),
            ("evaluations", "evaluations", "d"),
            ("library", "library", ""),
            ("sampler", "solver and grid", ""),
            ("error", "error", ".2e"),
            ("ratio", "of the best peer's", ".2f"),
        ],
    )
    known: Known = {}
    for problem in (ring(ROWS), *mixtures(ROWS)):
        rows = measure(problem, known, report.notes)
        for evaluations in EVALUATIONS:
            here = [row for row in rows if row["evaluations"] == evaluations]
            report.rows += sorted(here, key=lambda row: (row["error"], row["tried"])) if options.detail else best(here)
            ours = {row["sampler"]: row["ratio"] for row in here if not _is_peer(row) and row["ratio"] < math.inf}
            report.found[f"{problem.title}, {evaluations} evaluations"] = {
                "best peer": min(filter(_is_peer, here), key=lambda row: row["error"])["sampler"],
                **{f"{name}, of its error": ratio for name, ratio in ours.items()},
                **{
                    f"{name}, at most {TARGETS[name][evaluations]}": ratio <= TARGETS[name][evaluations]
                    for name, ratio in ours.items()
                },
            }
        report.notes.append(
            f"{problem.title}: end points known to {problem.doubt:.0e}, the denoiser to "
            f"{problem.denoiser.check(problem.noise[:100]):.0e}; {len({row['sampler'] for row in rows})} samplers"
        )
    if options.detail:
        report.columns.append(("tried", f"on {TRIAL} rows", ".2e"))
    report.notes.append(
        f"root mean square over {ROWS} rows; every peer's samplers are tried on {TRIAL} of them, and the "
        f"{FINALISTS} best of each library in each cell measured on all"
    )
    for row in report.rows:  # JSON knows no infinity
        row |= {name: None for name in ("error", "tried", "ratio") if not math.isfinite(row[name])}
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
