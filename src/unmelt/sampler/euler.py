"""Euler's method on the probability-flow ODE (Song et al., 2021, equation 13).

In straight coordinates (w, u) the ODE is dw/du = (w - x0) / u, and one Euler step of it is exactly `process.ode_step`.
The same step comes out in EDM's coordinates (x / alpha against sigma / alpha) and from DDIM at eta = 0: one method
under three names.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.rng import RowSeeds
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@dataclass(frozen=True)
class Euler(Sampler):
    """Euler's method on the probability-flow ODE. Order 1; one network call a step."""

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return State.start(x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        x0 = denoiser(state.x, state.t, state.condition).mean
        return state.moved(denoiser.process.ode_step(state.x, x0, state.t, s), s, x0)
