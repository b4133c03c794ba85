"""Inversion: the noise that data came from, by the probability-flow ODE from t = 0 to t = 1.

DDIM's inversion (Song et al., 2021, section 4.3) assumes that the belief is the same at both ends of a step, and
returns to the data only in the limit of many steps. `Leapfrog` returns from any number of them.
"""

from collections import deque

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.rng import RowSeeds
from unmelt.sampler.grid import Grid
from unmelt.sampler.leapfrog import Leapfrog
from unmelt.sampler.loop import knots, walk
from unmelt.sampler.state import State


@checked("um.sampler.invert")
@torch.no_grad()
def invert(
    denoiser: Denoiser, x0: Float[Tensor, "rows *shape"], *, grid: Grid, condition: Condition | None = None
) -> State:
    """The noise from which data come, by `Leapfrog` from the end of a grid to its start.

    The way down again, by this condition or by another that replaces it in the state:

        up = invert(denoiser, x0, grid=grid, condition=condition)
        *_, down = walk(denoiser, Leapfrog(), up, knots(grid, denoiser.process.schedule, len(x0))[1:])

    Args:
        denoiser: The denoiser.
        x0: [rows, *shape], data.
        grid: The times to visit, from the last to the first.
        condition: What is known of each row.

    Returns:
        The state at the start of the grid.
    """
    *up, end = knots(grid, denoiser.process.schedule, len(x0), x0.device)
    state = Leapfrog().init(denoiser, x0, end, RowSeeds.of(0, len(x0)), condition)
    return deque(walk(denoiser, Leapfrog(), state, reversed(up)), maxlen=1).pop()
