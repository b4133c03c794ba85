"""What an evaluation buys on a trained network: digits in 4, 6, 8 and 10 evaluations, beside what 200 make of them.

Every sampler drives the same trained digits model from the same noise, with the classes of the training images. Two
figures: the Fréchet distance over pixels to the held-out digits, as a share of that of 200 steps, and the root mean
square distance of the end points from those of 200 steps. Of the peers' samplers those take part that did best on the
ring in bench/results/solvers.json, whose noise levels are these; of each library its best distance counts, cell by
cell.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import solvers_peers
import timing
import torch
from problems import Counted, Problem, SpentError
from solvers import walked
from solvers_peers import Contestant
from torch import Tensor

import unmelt as um

EVALUATIONS = (4, 6, 8, 10)
STEPS, TIMES = 200, 1
"""Of the accurate paths; samples for each training image."""

LEARNED, ROUNDS, SEED, CHUNK = 256, 6, 99, 512
WITHIN = 1.05
"""How near the tuned sampler must come at 6 evaluations."""


class OfModel(Counted):
    """The model's denoiser for rows of flat float64 numbers that know their class."""

    def __init__(self, model: um.Model, labels: Tensor) -> None:
        super().__init__(model.denoiser.process, (math.prod(model.denoiser.shape),))
        self.model, self.labels = model, labels

    def mean(self, x: Tensor, t: Tensor) -> Tensor:
        images, means = x.float().view(-1, *self.model.denoiser.shape), []
        for first in range(0, len(images), CHUNK):
            part = slice(first, min(first + CHUNK, len(images)))
            known = um.Condition(label=self.labels[part])
            means.append(self.model.denoiser(images[part], t.expand(part.stop - first), known).mean)
        return torch.cat(means).flatten(1).double()


def problem(model: um.Model, labels: Tensor) -> Problem:
    """The digits as a problem like the exact ones; the truth is the model's own, from many steps."""
    denoiser, sd = OfModel(model, labels), model.denoiser.data_sd
    noise = um.rng.RowSeeds.of(0, len(labels)).normal((len(labels), *denoiser.shape), torch.float64)
    high = denoiser.process.schedule.sigma(torch.ones((), dtype=torch.float64)).item()
    known = {
        "denoiser": denoiser,
        "noise": noise,
        "truth": torch.empty_like(noise),
        "doubt": 0.0,
        "high": high,
        "sd": sd,
    }
    made = Problem(data="digits", name="digits", ranges=((0.02, high), (0.002, high)), **known)  # type: ignore[arg-type]
    denoiser.allow(STEPS)
    made.truth.copy_(walked(made, um.sampler.Adams(3), um.grid.balanced(STEPS)))
    return made


def tuned_samplers(model: um.Model) -> dict[int, um.sampler.Tuned]:
    """A tuned sampler for each number of evaluations, learned on noise of other seeds."""
    noise = model.denoiser.process.prior((LEARNED, *model.denoiser.shape), um.rng.RowSeeds.of(SEED, LEARNED))
    known = um.Condition(label=torch.arange(LEARNED) % len(model.classes))
    found = {}
    for evaluations in EVALUATIONS:
        start = time.perf_counter()
        result = um.sampler.tune(model.denoiser, evaluations, noise, known, rounds=ROUNDS)
        found[evaluations] = result.sampler
        seconds = time.perf_counter() - start
        said = f"error {result.default_error:.4f} -> {result.tuned_error:.4f} on noise it has not seen"
        print(f"{evaluations} steps learned in {seconds:.0f} s: {said}", file=sys.stderr)
    return found


def ended(contestant: Contestant, problem: Problem, evaluations: int) -> Tensor | None:
    """Where it ends; None if it cannot do it."""
    problem.denoiser.allow(evaluations)
    try:
        x = contestant.run(problem, evaluations)
    except (SpentError, ArithmeticError, AssertionError, IndexError, RuntimeError, ValueError):
        return None
    return x if x is not None and x.isfinite().all() else None


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/solvers_digits.*")
    parser.add_argument("--run", type=Path, default=Path("runs/digits"), help="the run folder of a digits model")
    options = parser.parse_args()
    options.rounds = 1
    start = time.perf_counter()
    solvers_peers.quiet()
    model = um.load(options.run, device="cpu")
    real, held_out = um.data.digits(), um.data.digits(held_out=True)
    _, labels = real.all()
    digits = problem(model, labels.repeat(TIMES))
    features = um.metric.Pixels()
    wanted = features(held_out.all()[0])

    def distance(x: Tensor) -> float:
        images = model.codec.decode(x.float().view(-1, *model.denoiser.shape))
        return um.metric.frechet_distance(features(images), wanted)

    accurate = distance(digits.truth)
    found, notes = solvers_peers.contestants(digits)
    chosen = json.loads((timing.HERE / "results" / "solvers.json").read_text(encoding="utf-8"))["rows"]
    names = {(row["library"], row["sampler"]) for row in chosen if row["problem"] == "ring"}
    peers = [one for one in found if (one.library, one.name) in names]
    tuned = tuned_samplers(model)
    rows: list[dict[str, Any]] = []
    for evaluations in EVALUATIONS:
        finalists = list(peers)
        sampler = tuned[evaluations]
        ours = {"learned": um.sampler.learned_sampler(evaluations), "tuned": (sampler, sampler.grid)}
        for name, way in ours.items():
            finalists.append(Contestant("unmelt", name, lambda p, n, way=way: walked(p, *way), free=False))
        best: dict[str, dict[str, Any]] = {}
        for contestant in finalists:
            x = ended(contestant, digits, evaluations)
            if x is None:
                continue
            frechet = distance(x)
            row = {"evaluations": evaluations, "library": contestant.library, "sampler": contestant.name}
            row |= {"frechet": frechet, "ratio": frechet / accurate, "error": digits.error(x)}
            key = contestant.name if contestant.library == "unmelt" else contestant.library
            if key not in best or frechet < best[key]["frechet"]:
                best[key] = row
        rows += sorted(best.values(), key=lambda row: row["frechet"])
        print(f"{evaluations} evaluations: {len(finalists)} samplers run", file=sys.stderr)
    reached = next(row["ratio"] for row in rows if row["evaluations"] == 6 and row["sampler"] == "tuned")
    report = timing.Report(
        "solvers_digits",
        "Digits in few evaluations of a trained network",
        [
            ("evaluations", "evaluations", "d"),
            ("library", "library", ""),
            ("sampler", "solver and grid", ""),
            ("frechet", "Fréchet", ".4f"),
            ("ratio", "of that of 200 steps", ".3f"),
            ("error", "rms from 200 steps", ".4f"),
        ],
        rows,
        {"200 steps": accurate, "tuned at 6, of that": reached, f"at most {WITHIN}": reached <= WITHIN},
        [
            *notes,
            f"{len(digits.noise)} samples with the classes of the training images; {STEPS} steps have {accurate:.4f}",
            f"tuned at 6 evaluations: {reached:.3f} of that (target {WITHIN})",
            f"{len(peers)} of the peers' samplers: the best of each library and cell on the ring",
        ],
    )
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
