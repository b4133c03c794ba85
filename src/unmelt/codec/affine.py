"""Shift and scale: z = (x - shift) / scale, x = shift + scale z.

Diffusion adds noise of unit size, so data should be centred and of about unit size too. Images in [0, 1] become
[-1, 1] with shift = scale = 1/2. `Affine()` changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.rng import Random


@final
@checked_init("um.codec.Affine")
@dataclass(frozen=True)
class Affine:
    """One shift and one scale for all numbers.

    Args:
        shift: The number in data space that becomes 0.
        scale: The units of data space that become 1, above 0.
        clamp: (low, high) in data space, to which decoded numbers are clamped, since samples overshoot a little where
            data have hard limits, as pixels do. Encoding never clamps. None: no limits.

    Raises:
        UsageError: If the shift is not finite, the scale is not a positive number, or the limits are not in order.
    """

    shift: float = 0.0
    scale: float = 1.0
    clamp: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.shift) and math.isfinite(self.scale) and self.scale > 0):
            raise UsageError(
                f"Affine was given shift={self.shift}, scale={self.scale}",
                "a finite shift and a positive scale",
                "Affine(shift=0.5, scale=0.5)",
            )
        if self.clamp is not None and not self.clamp[0] < self.clamp[1]:
            raise UsageError(
                f"Affine was given clamp={self.clamp}", "(low, high)", "Affine(0.5, 0.5, clamp=(0.0, 1.0))"
            )

    @classmethod
    def images(cls) -> Affine:
        """The codec of images: pixels in [0, 1] become [-1, 1], and decoded pixels are clamped to [0, 1]."""
        return cls(shift=0.5, scale=0.5, clamp=(0.0, 1.0))

    def encode(self, x: Float[Tensor, "*n"], rng: Random | None = None) -> Float[Tensor, "*n"]:
        return (x - self.shift) / self.scale

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(shape)

    def log_det(self, dim: int) -> float:
        """log |dz / dx| of a row, which converts a log-density in model space to one in data space by addition.

        Args:
            dim: Numbers in a row.

        Returns:
            Nats.
        """
        return -dim * math.log(self.scale)

    def decode(self, z: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        x = self.shift + self.scale * z
        return x if self.clamp is None else x.clamp(*self.clamp)
