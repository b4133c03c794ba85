"""Adams' method, predictor and corrector, on the angle between signal and noise.

With theta = atan(sigma / alpha) and z = x / sqrt(alpha^2 + sigma^2) the probability-flow ODE is dz/dtheta = v, smooth
on every schedule from pure noise to clean data, so that steps keep their order to the very end and the last of them may
be a long one. Past slopes predict x_s; the belief there first corrects x_s, to one order more, and then predicts the
next step: one belief a step serves both (PEC mode: Hairer, Norsett and Wanner, 1993, section III.1; for diffusion
models: Zhao et al., 2023).
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.rng import RowSeeds
from unmelt.sampler import multistep
from unmelt.sampler.ode_coordinates import ANGLE
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@checked_init("um.sampler.Adams")
@dataclass(frozen=True)
class Adams(Sampler):
    """Adams predictor-corrector of orders 2 to 6. Multistep; one network call a step.

    Args:
        order: Order of convergence, which is that of the corrector.

    Raises:
        UsageError: If the order is not from 2 to 6.
    """

    order: int = 3

    def __post_init__(self) -> None:
        multistep.check_order(self, self.order, 2, 6)

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return multistep.start(x, t, rng, condition, slopes=self.order - 1, corrected=True)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        return multistep.step(ANGLE, self.order - 1, denoiser, state, s)
