"""What to sample with when nothing is said: Adams' method on a balanced grid, of as high an order as its steps allow.

A high order pays only once steps are short beside the features of the path. On exact mixtures the best order is 3 at 5
evaluations, 4 at 10, 5 at 20 and 6 from about 40 on, which is what this gives; see bench/solvers.py.
"""

from unmelt.sampler import grid
from unmelt.sampler.adams import Adams
from unmelt.sampler.grid import Grid


def stock(steps: int) -> tuple[Adams, Grid]:
    """The sampler and the grid for this many evaluations."""
    order = 3 + (steps >= 8) + (steps >= 16) + (steps >= 32)
    return Adams(order), grid.balanced(steps)
