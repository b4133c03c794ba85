"""The sampler and the grid for so many evaluations.

Few steps are long beside the features of a path, and no order of convergence says what they should do. For few, then,
there is a sampler in stock that has learned it, on random problems whose beliefs are exact (see `learn.py`), and which
is fitted to no model. For many there is Adams' method on a balanced grid, of as high an order as its steps allow: on
exact mixtures the best order is 3 at 5 evaluations, 4 at 10, 5 at 20 and 6 from about 40 on; see bench/solvers.py.
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


def default_sampler(steps: int) -> tuple[Sampler, Grid]:
    """What was learned for this many evaluations, or else Adams' method."""
    found = learned().get(steps)
    return (found, found.grid) if found is not None else adams(steps)


def adams(steps: int) -> tuple[Adams, Grid]:
    """Adams' method on a balanced grid, of the order that serves this many evaluations."""
    order = 3 + (steps >= 8) + (steps >= 16) + (steps >= 32)
    return Adams(order), grid.balanced(steps)


@cache
def learned() -> dict[int, Tuned]:
    """All samplers that were learned, by their number of steps."""
    return {int(steps): made(numbers) for steps, numbers in json.loads(LEARNED.read_text()).items()}


def made(numbers: dict[str, list]) -> Tuned:
    """A sampler from its numbers."""
    return Tuned(tuple(numbers["levels"]), tuple(map(tuple, numbers["weights"])), tuple(numbers["ahead"]))
