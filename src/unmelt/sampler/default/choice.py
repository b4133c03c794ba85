"""The default sampler and grid for a number of network evaluations.

With few steps, orders of convergence do not predict the error. For some small numbers of steps there is therefore a
learned sampler, fitted to random problems with exact denoisers (see `learn.py`) and to no trained model. Below 10 steps
it tells the denoiser other times than those of x's noise. Exact denoisers gain from that; networks of images err by it
(LOG.md, 2026-11-28), so that it is not their default. Where nothing learned is used, the default is Adams' method on a
balanced grid. Its order grows with the number of steps: on exact mixtures the best order is 3 at 5 evaluations, 4 at
10, 5 at 20 and 6 from about 40 on (bench/solvers.py).
"""

import json
from functools import cache
from pathlib import Path

from unmelt.sampler import grid
from unmelt.sampler.adams import Adams
from unmelt.sampler.grid import Grid
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.tuned import Tuned

LEARNED = Path(__file__).with_name("learned.json")

FEWEST = 10
"""Fewest steps for which a learned sampler is the default."""


def default_sampler(steps: int) -> tuple[Sampler, Grid]:
    """(sampler, grid) to use by default: from 10 steps on the learned one, if there is one, else Adams' method.

    Args:
        steps: Network evaluations per sample.

    Returns:
        (sampler, grid).
    """
    return learned_sampler(steps) if steps >= FEWEST else adams_sampler(steps)


def learned_sampler(steps: int) -> tuple[Sampler, Grid]:
    """(sampler, grid) for exact denoisers: the sampler learned for this number of steps, else Adams' method.

    Args:
        steps: Network evaluations per sample.

    Returns:
        (sampler, grid).
    """
    sampler = learned().get(steps)
    return (sampler, sampler.grid) if sampler is not None else adams_sampler(steps)


def adams_sampler(steps: int) -> tuple[Adams, Grid]:
    """(sampler, grid): Adams' method of a suitable order, on a balanced grid.

    Args:
        steps: Network evaluations per sample; the order, from 3 to 6, grows with them.

    Returns:
        (sampler, grid).
    """
    order = 3 + (steps >= 8) + (steps >= 16) + (steps >= 32)
    return Adams(order), grid.balanced(steps)


@cache
def learned() -> dict[int, Tuned]:
    """All learned samplers, by their number of steps."""
    return {int(steps): made(numbers) for steps, numbers in json.loads(LEARNED.read_text(encoding="utf-8")).items()}


def made(numbers: dict[str, list]) -> Tuned:
    """Make a learned sampler from an entry of `learned.json`.

    Args:
        numbers: Levels, weights and shares ahead, as in `Tuned`.

    Returns:
        The sampler.
    """
    return Tuned(tuple(numbers["levels"]), tuple(map(tuple, numbers["weights"])), tuple(numbers["ahead"]))
