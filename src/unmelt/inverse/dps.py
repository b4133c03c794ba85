"""Diffusion posterior sampling (Chung et al., 2023): down the gradient of |y - A mean|^2, through the denoiser.

    S = s^2 / strength,      s^2 = the mean square of the residual y - A mean, and at least noise_sd^2

Their equation 16 has s = noise_sd, the denoiser's mean being taken for the truth; where its error is the larger part of
the residual, that overshoots without bound, and their algorithm 1 divides by the residual's size instead, with a
step tuned to a thousand steps of one schedule. The mean square of the residual is what S has on its diagonal, on
average, so that strength 1 suits any grid and schedule. One number is still taken for all of S: directions that are
well known move too much, and the others too little.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.inverse.measured import Measured
from unmelt.inverse.tweedie import Covary


@final
@dataclass(frozen=True, eq=False)
class DPS(Measured):
    """The cheapest: one derivative a belief, nothing solved."""

    strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.strength) and self.strength > 0):
            raise UsageError(f"DPS with strength={self.strength}", "a positive number", "strength=1.0")

    def explain(self, residual: Tensor, shape: tuple[int, ...], covary: Covary, t: Tensor) -> Tensor:
        square = residual.flatten(1).square().mean(1).view(-1, *(1,) * (residual.ndim - 1))
        size = square.clamp_min(max(self.noise_sd**2, torch.finfo(residual.dtype).tiny))
        return self.strength / size * residual
