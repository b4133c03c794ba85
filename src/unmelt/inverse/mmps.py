"""Moment matching posterior sampling (Rozet et al., 2024, algorithm 3): the covariance that the denoiser implies.

    S = noise_sd^2 + A V A',      V = Cov[x0 | x_t] = sigma^2 / alpha d mean / d x_t

S is never formed: a few steps of conjugate residuals, each one derivative of the denoiser.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.errors import UsageError
from unmelt.inverse.measured import Measured
from unmelt.inverse.solve import solve
from unmelt.inverse.tweedie import Covary


@final
@dataclass(frozen=True, eq=False)
class MMPS(Measured):
    """Exact for Gaussian data. `solves` steps to solve for u; 1 + solves derivatives a belief."""

    solves: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solves < 1:
            raise UsageError(f"MMPS with solves={self.solves}", "at least one step", "solves=4")

    def explain(self, residual: Tensor, shape: tuple[int, ...], covary: Covary, t: Tensor) -> Tensor:
        def product(u: Tensor) -> Tensor:
            return self.noise_sd**2 * u + self.operator.forward(covary(self.operator.adjoint(u, shape)))

        return solve(product, residual, self.solves)
