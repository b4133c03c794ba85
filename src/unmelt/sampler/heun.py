"""Heun's method on the probability-flow ODE, in straight coordinates (w, u) where dw/du = (w - x0) / u.

An Euler step to s, a second belief there, and the mean of the two slopes.

EDM (Karras et al., 2022, algorithm 1) does the same with x / alpha against sigma / alpha, where first steps from high
noise are far more curved. A step to s = 0 is Euler's, as the slope there is 0 / 0.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.process.broadcast import expand_like
from unmelt.rng import RowSeeds
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.sampler.straight_coordinates import Path


@final
@dataclass(frozen=True)
class Heun(Sampler):
    """Heun's method. Order 2; two network calls a step, one where every row goes to t = 0."""

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return State.start(x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        path = Path(denoiser, state.condition)
        w, u = path.enter(state.x, state.t)
        end = path.clock(s)
        first, x0 = path.slope(w, u)
        step, last = expand_like(end - u, w), expand_like(end, w) == 0
        if last.all():
            return state.moved(path.leave(w + step * first, s), s, x0)
        second, _ = path.slope(w + step * first, torch.where(end > 0, end, u))  # not asked for at 0
        slope = torch.where(last, first, (first + second) / 2)
        return state.moved(path.leave(w + step * slope, s), s, x0)
