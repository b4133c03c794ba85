"""SA-Solver (Xue et al., 2023): stochastic Adams, with fresh noise at every step by its share eta.

    dx along the reverse SDE with eta^2 times its noise; eta = 0 is the ODE, eta = 1 ancestral sampling

(the paper's tau is this eta, held constant). The mean of a step is a polynomial of the belief x0 in log SNR, integrated
exactly against the SDE's own decay; the noise has its exact variance.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.rng import RowSeeds
from unmelt.sampler import multistep
from unmelt.sampler.ode_coordinates import data
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@checked_init("um.sampler.SASolver")
@dataclass(frozen=True)
class SASolver(Sampler):
    """SA-Solver, its predictor of orders 1 to 4. Multistep; one network call a step.

    Args:
        order: Order of the predictor.
        eta: Share of fresh noise: 0 is the ODE, 1 the reverse SDE.

    Raises:
        UsageError: If the order is not from 1 to 4, or eta is negative.
    """

    order: int = 3
    eta: float = 1.0

    def __post_init__(self) -> None:
        multistep.check_order(self, self.order, 1, 4)
        multistep.check_eta(self, self.eta)

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return multistep.start(x, t, rng, condition, slopes=self.order - 1)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        return multistep.step(data(self.eta), self.order, denoiser, state, s)
