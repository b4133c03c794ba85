"""Classifier-free guidance (Ho and Salimans, 2022), within an interval of time (Kynkäänniemi et al., 2024).

    guided = null + scale (conditional - null)

Scale 1 is no guidance, at no cost: the null belief is then not asked for, outside the interval neither.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.process.gaussian import over


class CFG:
    """A denoiser that overstates the difference its condition makes.

    scale      1 unguided, above 1 guided, 0 the null belief
    interval   (low, high) times between which to guide; outside it the scale is 1
    """

    def __init__(self, denoiser: Denoiser, scale: float, interval: tuple[float, float] = (0.0, 1.0)) -> None:
        if not math.isfinite(scale):
            raise UsageError(f"a guidance scale of {scale}", "a finite number", "guidance=2.0")
        low, high = interval
        if not 0 <= low < high <= 1:
            raise UsageError(
                f"a guidance interval of {interval}", "two times with 0 <= low < high <= 1", "interval=(0.2, 0.8)"
            )
        self.denoiser, self.scale, self.interval = denoiser, scale, interval

    @property
    def process(self) -> Any:
        return self.denoiser.process

    @property
    def shape(self) -> tuple[int, ...]:
        return self.denoiser.shape  # type: ignore[attr-defined]

    def __call__(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Any:
        if self.scale == 1 or condition is None:
            return self.denoiser(x_t, t, condition)
        low, high = self.interval
        inside = (t >= low) & (t <= high)
        if not inside.any():
            return self.denoiser(x_t, t, condition)
        conditional = self.denoiser(x_t, t, condition)
        null = self.denoiser(x_t, t, condition.null())
        weight = torch.where(inside, self.scale, 1.0)
        return null.lerp(conditional, over(weight, x_t))
