"""Pseudoinverse-guided diffusion (Song et al., 2023, section 3): Cov[x0 | x_t] approximated by that of white data.

    S = noise_sd^2 + r^2 A A',      r^2 = sigma^2 sd^2 / (alpha^2 sd^2 + sigma^2)

The paper's r is for data of unit variance, sd = 1. S contains no derivative of the denoiser, so that each belief needs
only one.
"""

import math
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.inverse.measured import Measured
from unmelt.inverse.solve import solve
from unmelt.inverse.tweedie import Covary
from unmelt.process.gaussian import Gaussian, expand_like

STEPS = 16
"""Steps to solve for u, each with one product with A and one with A'. For masks and block means one step is exact."""


@final
@checked_init("um.inverse.PiGDM")
@dataclass(frozen=True, eq=False)
class PiGDM(Measured):
    """Pseudoinverse guidance: exact for white Gaussian data, one derivative of the denoiser for each belief.

    Args:
        denoiser: The denoiser of the data's prior.
        operator: A, which maps data to measurements.
        y: [rows, *measured], the measurement of each row, or [1, *measured] for all rows.
        noise_sd: Standard deviation of the measurement's noise; 0 for none.
        covariance_sigma_max: Noise-to-signal ratio beyond which the covariance of this ratio is used (see `tweedie`).
        data_sd: Standard deviation of the data.

    Raises:
        UsageError: If a number is out of its range or the measurement is not finite.
    """

    data_sd: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.data_sd) and self.data_sd > 0):
            raise UsageError(f"PiGDM with data_sd={self.data_sd}", "a positive standard deviation", "data_sd=1.0")

    def explain(self, residual: Tensor, shape: tuple[int, ...], covary: Covary, t: Tensor) -> Tensor:
        variance = expand_like(white_variance(self.process, t, self.data_sd), residual)

        def product(u: Tensor) -> Tensor:
            return self.noise_sd**2 * u + variance * self.operator.forward(self.operator.adjoint(u, shape))

        return solve(product, residual, STEPS)


def white_variance(process: Gaussian, t: Float[Tensor, " rows"], data_sd: float) -> Float[Tensor, " rows"]:
    """r^2, the variance of x0 given x_t if the data are white.

    Args:
        process: The process.
        t: [rows], times.
        data_sd: Standard deviation of the data.

    Returns:
        [rows].
    """
    alpha, sigma = process.level(t)
    return (sigma * data_sd) ** 2 / ((alpha * data_sd) ** 2 + sigma**2)
