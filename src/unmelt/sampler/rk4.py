"""The classical Runge-Kutta method on the probability-flow ODE in straight coordinates (w, u), dw/du = noise - x0.

Four beliefs a step: where it starts, twice half way, and where it ends. A step to u = 0, where the slope is 0 / 0, is
the midpoint rule, of two.
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
class RK4(Sampler):
    """The classical Runge-Kutta method. Order 4; four network calls a step, two where every row goes to t = 0."""

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return State.start(x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        path = Path(denoiser, state.condition)
        w, u = path.enter(state.x, state.t)
        end = path.clock(s)
        half, h = (u + end) / 2, expand_like(end - u, w)
        k1, x0 = path.slope(w, u)
        k2, _ = path.slope(w + h / 2 * k1, half)
        last = expand_like(end, w) == 0
        if last.all():
            return state.moved(path.leave(w + h * k2, s), s, x0)
        k3, _ = path.slope(w + h / 2 * k2, half)
        k4, _ = path.slope(w + h * k3, torch.where(end > 0, end, half))  # not asked for at 0
        w = w + torch.where(last, h * k2, h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
        return state.moved(path.leave(w, s), s, x0)
