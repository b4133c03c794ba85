"""The noise that data came from: the probability-flow ODE walked up, by a sampler that walks back down exactly.

DDIM's inversion (Song et al., 2021, section 4.3) assumes that the belief is the same at both ends of a step, and comes
back only in the limit of many steps. `Leapfrog` comes back from any number of them.
"""

from collections import deque

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.rng import Rows
from unmelt.sampler.grid import Grid
from unmelt.sampler.leapfrog import Leapfrog
from unmelt.sampler.loop import knots, walk
from unmelt.sampler.state import State


@torch.no_grad()
def invert(
    denoiser: Denoiser, x0: Float[Tensor, "rows *shape"], *, grid: Grid, condition: Condition | None = None
) -> State:
    """Data carried up the grid to its start. Down again, by this condition or by another (replaced in the state):

    up = invert(denoiser, x0, grid=grid, condition=condition)
    *_, down = walk(denoiser, Leapfrog(), up, knots(grid, denoiser.process.schedule, len(x0))[1:])
    """
    *up, end = knots(grid, denoiser.process.schedule, len(x0), x0.device)
    state = Leapfrog().init(denoiser, x0, end, Rows.of(0, len(x0)), condition)
    return deque(walk(denoiser, Leapfrog(), state, reversed(up)), maxlen=1).pop()
