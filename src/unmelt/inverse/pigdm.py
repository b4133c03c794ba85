"""Pseudoinverse-guided diffusion (Song et al., 2023, section 3): x0 given x_t as uncertain as white data would be.

    S = noise_sd^2 + r^2 A A',      r^2 = sigma^2 sd^2 / (alpha^2 sd^2 + sigma^2)

The paper's r is for data of unit variance, sd = 1. S holds no derivative of the denoiser: one is all that is asked for.
"""

import math
from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.errors import UsageError
from unmelt.inverse.measured import Measured
from unmelt.inverse.solve import solve
from unmelt.inverse.tweedie import Covary
from unmelt.process.gaussian import expand_like

STEPS = 16
"""To solve for u, which here cost two products with A each: masks and blocks need one."""


@final
@dataclass(frozen=True, eq=False)
class PiGDM(Measured):
    """Exact for white Gaussian data of standard deviation `data_sd`; one derivative a belief."""

    data_sd: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.data_sd) and self.data_sd > 0):
            raise UsageError(f"PiGDM with data_sd={self.data_sd}", "a positive standard deviation", "data_sd=1.0")

    def explain(self, residual: Tensor, shape: tuple[int, ...], covary: Covary, t: Tensor) -> Tensor:
        alpha, sigma = self.process.level(t)
        open_ = expand_like((sigma * self.data_sd) ** 2 / ((alpha * self.data_sd) ** 2 + sigma**2), residual)

        def product(u: Tensor) -> Tensor:
            return self.noise_sd**2 * u + open_ * self.operator.forward(self.operator.adjoint(u, shape))

        return solve(product, residual, STEPS)
