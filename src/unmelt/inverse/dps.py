"""Diffusion posterior sampling (Chung et al., 2023): gradient descent on |y - A mean|^2 through the denoiser.

    S = s^2 / strength,      s^2 = the mean square of the residual y - A mean, and at least noise_sd^2

Equation 16 of the paper has s = noise_sd, which takes the denoiser's mean for the truth. Where its error dominates the
residual, that overshoots without bound, and algorithm 1 of the paper divides by the norm of the residual instead, with
a step size tuned to a thousand steps of one schedule. The mean square of the residual is the average of the diagonal of
S, so that strength 1 suits any grid and schedule. S is still a single number: well-determined directions move too far,
and the others not far enough.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.inverse.measured import Measured
from unmelt.inverse.pigdm import white_variance
from unmelt.inverse.tweedie import Covary
from unmelt.process.gaussian import expand_like


@final
@checked_init("um.inverse.DPS")
@dataclass(frozen=True, eq=False)
class DPS(Measured):
    """Diffusion posterior sampling: one derivative of the denoiser for each belief, no linear system.

    Args:
        denoiser: The denoiser of the data's prior.
        operator: A, which maps data to measurements.
        y: [rows, *measured], the measurement of each row, or [1, *measured] for all rows.
        noise_sd: Standard deviation of the measurement's noise; 0 for none.
        covariance_sigma_max: Noise-to-signal ratio beyond which the covariance of this ratio is used (see `tweedie`).
        strength: Step size, or one for each row; 1 suits any grid and schedule.
        shrinkage: How many numbers' worth of the variance of white data, as `PiGDM` has it, the mean square is averaged
            with. Where few numbers are measured, their residual may be small by chance, and the step then too large.
        data_sd: Standard deviation of the data, for the variance of white data.

    Raises:
        UsageError: If a number is out of its range or the measurement is not finite.
    """

    strength: float | Float[Tensor, " rows"] = 1.0

    shrinkage: float = 0.0
    data_sd: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = torch.as_tensor(self.strength)
        if not (sizes.isfinite() & (sizes > 0)).all():
            raise UsageError(f"DPS with strength={self.strength}", "a positive number", "strength=1.0")
        if not (math.isfinite(self.shrinkage) and self.shrinkage >= 0):
            raise UsageError(f"DPS with shrinkage={self.shrinkage}", "a number of 0 or more", "shrinkage=4.0")
        if not (math.isfinite(self.data_sd) and self.data_sd > 0):
            raise UsageError(f"DPS with data_sd={self.data_sd}", "a positive standard deviation", "data_sd=1.0")

    def explain(self, residual: Tensor, shape: tuple[int, ...], covary: Covary, t: Tensor) -> Tensor:
        square = residual.flatten(1).square().mean(1).view(-1, *(1,) * (residual.ndim - 1))
        if self.shrinkage:
            white, count = white_variance(self.process, t, self.data_sd), residual[0].numel()
            square = (count * square + self.shrinkage * expand_like(white, residual)) / (count + self.shrinkage)
        size = square.clamp_min(max(self.noise_sd**2, torch.finfo(residual.dtype).tiny))
        if isinstance(self.strength, Tensor) and self.strength.numel() not in (1, len(residual)):
            raise UsageError(
                f"DPS with {self.strength.numel()} strengths for {len(residual)} rows",
                "one, or one for each row",
                "strength=1.0",
            )
        strength = self.strength if isinstance(self.strength, float | int) else expand_like(self.strength, residual)
        return strength / size * residual
