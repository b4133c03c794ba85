"""Linear multistep (Adams-Bashforth) on EDM's form of the ODE, d(x / alpha) / dr = noise with r = sigma / alpha.

The `lms` of k-diffusion, on every schedule. From pure noise, where r is infinite, its step is Euler's.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.rng import RowSeeds
from unmelt.sampler import multistep
from unmelt.sampler.ode_coordinates import RATIO
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@checked_init("um.sampler.LMS")
@dataclass(frozen=True)
class LMS(Sampler):
    """Linear multistep of orders 1 to 4. One network call a step.

    Args:
        order: Order of convergence.

    Raises:
        UsageError: If the order is not from 1 to 4.
    """

    order: int = 4

    def __post_init__(self) -> None:
        multistep.check_order(self, self.order, 1, 4)

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return multistep.start(x, t, rng, condition, slopes=self.order - 1)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        return multistep.step(RATIO, self.order, denoiser, state, s)
