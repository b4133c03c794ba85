"""The belief given a measurement y = A x0 + noise_sd noise in addition to x_t.

    E[x0 | x_t, y] = E[x0 | x_t] + sigma^2 / alpha  grad log p(y | x_t)                          gradient by x_t

With x0 given x_t approximated as normal, with the denoiser's mean and a covariance V taken to be constant in x_t,

    = mean + V A' S^-1 (y - A mean),      V = sigma^2 / alpha d mean / d x_t,      S = noise_sd^2 + A V A'

which is Kalman's gain (1960), and exact if the data are one Gaussian. The methods differ in their approximation of S:

    DPS      a number, the size of the residual            (Chung et al., 2023)
    PiGDM    S of white data: r^2 in place of V            (Song et al., 2023)
    MMPS     S with V itself                               (Rozet et al., 2024)

`S u = y - A mean` is solved for u, and V A' u is one derivative of the denoiser along A' u.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import final

from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.inverse.operator import Operator
from unmelt.inverse.tweedie import Covary, tweedie
from unmelt.posterior import Point


@dataclass(frozen=True, eq=False)
class Measured(DenoiserWrapper, ABC):
    """A denoiser whose belief also takes a measurement into account.

    Args:
        denoiser: The denoiser of the data's prior.
        operator: A, which maps data to measurements.
        y: [rows, *measured], the measurement of each row, or [1, *measured] for all rows.
        noise_sd: Standard deviation of the measurement's noise; 0 for none.
        covariance_sigma_max: Noise-to-signal ratio beyond which the covariance of this ratio is used (see `tweedie`).

    Raises:
        UsageError: If a number is out of its range or the measurement is not finite.
    """

    denoiser: Denoiser
    operator: Operator
    y: Float[Tensor, "rows *measured"]
    noise_sd: float
    covariance_sigma_max: float = field(default=10.0, kw_only=True)

    def __post_init__(self) -> None:
        method = type(self).__name__
        instead = f"{method}(denoiser, operator, y, noise_sd=0.05)"
        if not (math.isfinite(self.noise_sd) and self.noise_sd >= 0):
            raise UsageError(f"{method} with noise_sd={self.noise_sd}", "a standard deviation: 0 or more", instead)
        if not (math.isfinite(self.covariance_sigma_max) and self.covariance_sigma_max > 0):
            raise UsageError(
                f"{method} with covariance_sigma_max={self.covariance_sigma_max}",
                "a finite noise-to-signal ratio above 0",
                "covariance_sigma_max=10.0",
            )
        if not self.y.isfinite().all():
            raise UsageError(
                "a measurement with numbers that are not finite", "finite numbers only", "Inpainting(known)"
            )

    @abstractmethod
    def explain(
        self, residual: Float[Tensor, "rows *measured"], shape: tuple[int, ...], covary: Covary, t: Tensor
    ) -> Float[Tensor, "rows *measured"]:
        """Solve S u = residual for u.

        Args:
            residual: [rows, *measured], y - A mean.
            shape: The shape of one row of data.
            covary: v -> Cov[x0 | x_t] v, on rows of data.
            t: [rows], the times.

        Returns:
            [rows, *measured], u.
        """

    @final
    def __call__(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Point:
        mean, covary = tweedie(self.denoiser, x_t, t, condition, self.covariance_sigma_max)
        expected, shape = self.operator.forward(mean), tuple(x_t.shape[1:])
        if self.y.shape[1:] != expected.shape[1:] or len(self.y) not in (1, len(expected)):
            raise UsageError(
                f"a measurement of shape {list(self.y.shape)}",
                f"what {type(self.operator).__name__} gives, [1, ...] or for every row: {list(expected.shape)}",
                "y = operator.forward(x0)",
            )
        u = self.explain(self.y.to(expected) - expected, shape, covary, t)
        return Point(mean + covary(self.operator.adjoint(u, shape)))
