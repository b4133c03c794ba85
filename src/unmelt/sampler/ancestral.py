"""Ancestral sampling (Ho et al., 2020, algorithm 2): at each step, draw x_s from the process's own bridge.

It needs nothing of the process but a bridge, and so works for every process.
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
class Ancestral(Sampler):
    """Ancestral sampling, exact in law as the number of steps grows. One network call a step."""

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return State.start(x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        belief = denoiser(state.x, state.t, state.condition)
        x = denoiser.process.bridge(state.x, belief, state.t, s, state.rng)
        return state.moved(x, s, belief.best, state.rng.advance())
