"""Belief given a measurement y = A x0 + noise_sd noise, as well as x_t.

    E[x0 | x_t, y] = E[x0 | x_t] + sigma^2 / alpha  grad log p(y | x_t)                            grad by x_t

With x0 given x_t taken to be normal, of the mean the denoiser believes and of a covariance V that holds still,

    = mean + V A' S^-1 (y - A mean),      V = sigma^2 / alpha d mean / d x_t,      S = noise_sd^2 + A V A'

which is Kalman's gain (1960), and exact where the data are one Gaussian. The methods differ in what they take S for:

    DPS      a number, read off the residual               (Chung et al., 2023)
    PiGDM    of white data: r^2 in place of V              (Song et al., 2023)
    MMPS     V itself                                      (Rozet et al., 2024)

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
    """A denoiser that also believes a measurement; itself a denoiser.

    operator   A
    y          what it measured: of each row, or [1, *measured] for all of them
    noise_sd   standard deviation of the measurement's noise; 0 for none
    far        noise-to-signal ratio beyond which the covariance is no longer asked for (see `tweedie`)
    """

    denoiser: Denoiser
    operator: Operator
    y: Float[Tensor, "rows *measured"]
    noise_sd: float
    far: float = field(default=10.0, kw_only=True)

    def __post_init__(self) -> None:
        method = type(self).__name__
        instead = f"{method}(denoiser, operator, y, noise_sd=0.05)"
        if not (math.isfinite(self.noise_sd) and self.noise_sd >= 0):
            raise UsageError(f"{method} with noise_sd={self.noise_sd}", "a standard deviation: 0 or more", instead)
        if not (math.isfinite(self.far) and self.far > 0):
            raise UsageError(f"{method} with far={self.far}", "a finite noise-to-signal ratio above 0", "far=10.0")
        if not self.y.isfinite().all():
            raise UsageError("a measurement with numbers that are not finite", "only what was measured", "Mask(known)")

    @abstractmethod
    def explain(
        self, residual: Float[Tensor, "rows *measured"], shape: tuple[int, ...], covary: Covary, t: Tensor
    ) -> Float[Tensor, "rows *measured"]:
        """u of S u = residual; `shape` is that of one row of data."""

    @final
    def __call__(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Point:
        mean, covary = tweedie(self.denoiser, x_t, t, condition, self.far)
        seen, shape = self.operator.forward(mean), tuple(x_t.shape[1:])
        if self.y.shape[1:] != seen.shape[1:] or len(self.y) not in (1, len(seen)):
            raise UsageError(
                f"a measurement of shape {list(self.y.shape)}",
                f"what {type(self.operator).__name__} gives, [1, ...] or for every row: {list(seen.shape)}",
                "y = operator.forward(x0)",
            )
        u = self.explain(self.y.to(seen) - seen, shape, covary, t)
        return Point(mean + covary(self.operator.adjoint(u, shape)))
