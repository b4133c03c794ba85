"""Moment matching posterior sampling (Rozet et al., 2024, algorithm 3): the covariance that the denoiser implies.

    S = noise_sd^2 + A V A',      V = Cov[x0 | x_t] = sigma^2 / alpha d mean / d x_t

S is never formed. The system is solved by a few steps of conjugate residuals, each with one derivative of the denoiser.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.inverse.measured import Measured
from unmelt.inverse.solve import solve
from unmelt.inverse.tweedie import Covary


@final
@checked_init("um.inverse.MMPS")
@dataclass(frozen=True, eq=False)
class MMPS(Measured):
    """Moment matching posterior sampling: exact for Gaussian data, 1 + solves derivatives for each belief.

    Args:
        denoiser: The denoiser of the data's prior.
        operator: A, which maps data to measurements.
        y: [rows, *measured], the measurement of each row, or [1, *measured] for all rows.
        noise_sd: Standard deviation of the measurement's noise; 0 for none.
        covariance_sigma_max: Noise-to-signal ratio beyond which the covariance of this ratio is used (see `tweedie`).
        solves: Steps of conjugate residuals to solve for u, at least 1.

    Raises:
        UsageError: If a number is out of its range or the measurement is not finite.
    """

    solves: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solves < 1:
            raise UsageError(f"MMPS with solves={self.solves}", "at least one step", "solves=4")

    def explain(self, residual: Tensor, shape: tuple[int, ...], covary: Covary, t: Tensor) -> Tensor:
        def product(u: Tensor) -> Tensor:
            return self.noise_sd**2 * u + self.operator.forward(covary(self.operator.adjoint(u, shape)))

        return solve(product, residual, self.solves)
