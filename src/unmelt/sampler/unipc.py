"""UniPC (Zhao et al., 2023): predict with past beliefs, correct with the one the prediction led to, in log SNR.

A predictor of order p and its corrector of order p + 1, both polynomials of the belief x0 integrated exactly (the
paper's variant with varying coefficients); the corrected x is what the next step starts from, its belief being reused.
Where log SNR is infinite, from pure noise or to clean data, a step is Euler's.
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
@checked_init("um.sampler.UniPC")
@dataclass(frozen=True)
class UniPC(Sampler):
    """UniPC of orders 1 to 3. Multistep; one network call a step.

    Args:
        order: Order of the predictor; the corrector has one order more.

    Raises:
        UsageError: If the order is not from 1 to 3.
    """

    order: int = 3

    def __post_init__(self) -> None:
        multistep.check_order(self, self.order, 1, 3)

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return multistep.start(x, t, rng, condition, slopes=self.order, corrected=True)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        return multistep.step(data(), self.order, denoiser, state, s)
