"""DDIM (Song, Meng and Ermon, 2021): the bridge with only a share of its noise drawn anew.

eta = 0 is deterministic: the exact solution of the probability-flow ODE while the belief holds still, which makes it
the Euler method of all coordinates in which that ODE is a straight line. eta = 1 is the ancestral sampler.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@checked_init("um.sampler.DDIM")
@dataclass(frozen=True)
class DDIM(Sampler):
    """DDIM. Order 1; one network call a step.

    Args:
        eta: Share of the noise that is drawn anew: 0 is deterministic, 1 is ancestral sampling.

    Raises:
        UsageError: If eta is not in [0, 1].
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise UsageError(f"DDIM with eta={self.eta}", "eta from 0 (no new noise) to 1 (ancestral)", "DDIM(eta=0.0)")

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return State.start(x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        belief = denoiser(state.x, state.t, state.condition)
        x = denoiser.process.bridge(state.x, belief, state.t, s, state.rng, self.eta)
        return state.moved(x, s, belief.mean, state.rng.advance())
