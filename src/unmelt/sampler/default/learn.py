"""Learn the default samplers. `python -m unmelt.sampler.default.learn 5 10 20` writes them to `learned.json`.

    minimise over many random problems p    sum of log (root mean square error on p)

by least squares in several passes. Each pass divides every problem's error by the error that the pass before left, so
that hard problems do not outweigh easy ones. It takes half a minute for 5 steps and half an hour for 20.
"""

import json
import sys
import time
from collections.abc import Sequence

import torch

from unmelt.sampler.default.choice import LEARNED, adams_sampler
from unmelt.sampler.default.initial_guess import untrained
from unmelt.sampler.default.training_problems import TrainingProblems
from unmelt.sampler.tune import ends, fit
from unmelt.sampler.tuned import Tuned

MIXTURES, ROWS, SEED = 500, 24, 0
PASSES, ROUNDS, TEACHER = 4, 20, 128


def learn(steps: int) -> tuple[Tuned, float]:
    """Learn a sampler on random problems.

    Args:
        steps: Number of steps.

    Returns:
        The sampler, and the ratio of its error to that of Adams' method: the median over problems.
    """
    problems = TrainingProblems(MIXTURES, ROWS, SEED)
    noise = problems.noise(SEED + 1)
    target = ends(problems, *adams_sampler(TEACHER), noise)

    def errors(sampler: Tuned | None) -> torch.Tensor:
        """Root mean square error on each mixture; None is Adams' method."""
        solver, times = adams_sampler(steps) if sampler is None else (sampler, sampler.grid)
        x = ends(problems, solver, times, noise)
        return (x - target).square().view(MIXTURES, -1).mean(1).sqrt()

    learned, before = untrained(steps), errors(None)
    current = before
    for number in range(PASSES):
        weight = (1 / current.clamp_min(1e-3 * current.median())).repeat_interleave(ROWS)[:, None]
        learned = fit(problems, learned, noise, target, weight=weight, rounds=ROUNDS)
        current = errors(learned)
        print(f"  pass {number}: {(current / before).median():.3f} of Adams' error", file=sys.stderr, flush=True)
    return learned, (current / before).median().item()


def store(sampler: Tuned) -> None:
    """Write a sampler to `learned.json`, in place of one with the same number of steps.

    Args:
        sampler: The sampler.
    """
    known = json.loads(LEARNED.read_text(encoding="utf-8"))
    known[str(sampler.steps)] = {
        "levels": [round(level, 7) for level in sampler.levels],
        "weights": [[round(weight, 6) for weight in step] for step in sampler.weights],
        "ahead": [round(share, 6) for share in sampler.ahead],
    }
    lines = [f"  {json.dumps(steps)}: {json.dumps(known[steps])}" for steps in sorted(known, key=int)]
    LEARNED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main(args: Sequence[str]) -> None:
    """Learn and store samplers.

    Args:
        args: Numbers of steps, as on the command line.
    """
    for steps in map(int, args):
        began = time.process_time()
        sampler, share = learn(steps)
        store(sampler)
        print(f"{steps} steps: {share:.3f} of Adams' error, {time.process_time() - began:.0f} s of a processor")


if __name__ == "__main__":
    main(sys.argv[1:])
