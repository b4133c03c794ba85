"""Heun's method on the probability-flow ODE, in straight coordinates (w, u) where dw/du = (w - x0) / u.

An Euler step to s, a second belief there, and the mean of the two slopes. Said as a belief to carry:

    D = w_t - u_t (slope_t + slope_s) / 2

EDM (Karras et al., 2022, algorithm 1) does the same with x / alpha against sigma / alpha, where first steps from high
noise are far more curved. A step to s = 0 is Euler's, as the slope there is 0 / 0.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.process.gaussian import over
from unmelt.rng import Rows
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@dataclass(frozen=True)
class Heun(Sampler):
    """Order 2; two evaluations a step, one where every row goes to 0."""

    def init(self, x: Tensor, t: Tensor, rng: Rows, condition: Condition | None = None) -> State:
        return State.start(x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process, x, t = denoiser.process, state.x, state.t
        x0 = denoiser(x, t, state.condition).mean
        euler = process.carry(x, x0, t, s)
        if not (s > 0).any():
            return state.moved(euler, s, x0)
        there = denoiser(euler, s, state.condition).mean
        w_t, u_t = process.straighten(x, t)
        w_s, u_s = process.straighten(euler, s)
        slope = ((w_t - x0) / over(u_t, x) + (w_s - there) / over(u_s, x)) / 2
        mean = torch.where(over(s, x) > 0, w_t - over(u_t, x) * slope, x0)
        return state.moved(process.carry(x, mean, t, s), s, x0)
