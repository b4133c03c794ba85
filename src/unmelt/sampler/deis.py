"""DEIS (Zhang and Chen, 2023): the noise as a polynomial in log SNR, integrated exactly against the linear part.

The paper's polynomials run in the schedule's own time; in log SNR the solver is the same on every schedule. Where log
SNR is infinite, from pure noise or to clean data, a step is Euler's.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.rng import RowSeeds
from unmelt.sampler import multistep
from unmelt.sampler.ode_coordinates import NOISE
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@checked_init("um.sampler.DEIS")
@dataclass(frozen=True)
class DEIS(Sampler):
    """DEIS, exponential Adams-Bashforth of orders 1 to 4. Multistep; one network call a step.

    Args:
        order: Order of convergence.

    Raises:
        UsageError: If the order is not from 1 to 4.
    """

    order: int = 3

    def __post_init__(self) -> None:
        multistep.check_order(self, self.order, 1, 4)

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return multistep.start(x, t, rng, condition, slopes=self.order - 1)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        return multistep.step(NOISE, self.order, denoiser, state, s)
