"""Initial guess for tuning a sampler: a learned sampler, or Adams' predictor written as weights of beliefs."""

import torch
from torch import Tensor

from unmelt.condition import Condition
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian
from unmelt.rng import RowSeeds
from unmelt.sampler.default.choice import adams, learned
from unmelt.sampler.tuned import Tuned
from unmelt.schedule import Straight

DEPTH = 5
"""Largest number of past beliefs that a step uses."""


def past(step: int) -> int:
    """The number of past beliefs that a step uses.

    Args:
        step: Number of the step, from 0.

    Returns:
        At most 5.
    """
    return min(step, DEPTH)


def initial_guess(steps: int) -> Tuned:
    """The sampler that tuning starts from: the learned one, else `untrained`.

    Args:
        steps: Number of steps.

    Returns:
        The sampler.
    """
    return learned().get(steps) or untrained(steps)


def untrained(steps: int) -> Tuned:
    """Adams' predictor on equal steps of the balanced grid, as a `Tuned` sampler.

    Its weights are read off a run of `Adams` in which the n-th belief is the n-th unit vector.

    Args:
        steps: Number of steps.

    Returns:
        The sampler.
    """
    process = Gaussian(Straight())
    sampler, grid = adams(steps)
    times = grid(process.schedule)
    denoiser = _UnitVectors(process)
    state = sampler.init(denoiser, torch.zeros(1, steps, dtype=torch.float64), times[:1], RowSeeds.of(0, 1))
    weights = []
    for step, s in enumerate(times[1:, None]):
        of_x = process.ode_step(state.x, torch.zeros_like(state.x), state.t, s)
        of_belief = process.ode_step(torch.zeros_like(state.x), torch.ones_like(state.x), state.t, s)
        state = sampler.step(denoiser, state, s)
        shares = ((state.x - of_x) / of_belief)[0, : step + 1].flip(0)  # the newest belief first
        weights.append(tuple(shares[1 : past(step) + 1].tolist()))
    levels = [1 - step / steps for step in range(steps)]
    return Tuned((*levels, 0.0), tuple(weights), (0.0,) * steps)


class _UnitVectors:
    """A denoiser whose n-th belief is the n-th unit vector, so that x holds the weight of each belief in it."""

    def __init__(self, process: Gaussian) -> None:
        self.process, self.calls = process, 0

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Point:
        belief = torch.zeros_like(x_t)
        belief[:, self.calls] = 1
        self.calls += 1
        return Point(belief)
