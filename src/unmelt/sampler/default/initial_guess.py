"""Where learning to sample begins: with what is in stock, or with Adams' predictor said as mixtures of beliefs."""

import torch
from torch import Tensor

from unmelt.condition import Condition
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian
from unmelt.rng import Rows
from unmelt.sampler.default.choice import adams, learned
from unmelt.sampler.tuned import Tuned
from unmelt.schedule import Straight

DEPTH = 5
"""Past beliefs that a step may use."""


def past(step: int) -> int:
    """How many past beliefs the step of this number has."""
    return min(step, DEPTH)


def initial_guess(steps: int) -> Tuned:
    """What was learned for so many steps, if anything was."""
    return learned().get(steps) or untrained(steps)


def untrained(steps: int) -> Tuned:
    """Equal steps of the balanced grid, with the weights by which Adams' predictor carries beliefs on it.

    They are read off a run whose beliefs are unit vectors.
    """
    process = Gaussian(Straight())
    sampler, grid = adams(steps)
    times = grid(process.schedule)
    each = _Unit(process)
    state = sampler.init(each, torch.zeros(1, steps, dtype=torch.float64), times[:1], Rows.of(0, 1))
    weights = []
    for step, s in enumerate(times[1:, None]):
        carried = process.ode_step(state.x, torch.zeros_like(state.x), state.t, s)
        pull = process.ode_step(torch.zeros_like(state.x), torch.ones_like(state.x), state.t, s)
        state = sampler.step(each, state, s)
        of_beliefs = ((state.x - carried) / pull)[0, : step + 1].flip(0)
        weights.append(tuple(of_beliefs[1 : past(step) + 1].tolist()))
    levels = [1 - step / steps for step in range(steps)]
    return Tuned((*levels, 0.0), tuple(weights), (0.0,) * steps)


class _Unit:
    """The n-th belief is the n-th unit vector: what x then holds is how much of each belief went into it."""

    def __init__(self, process: Gaussian) -> None:
        self.process, self.asked = process, 0

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Point:
        belief = torch.zeros_like(x_t)
        belief[:, self.asked] = 1
        self.asked += 1
        return Point(belief)
