"""Shift and scale of each number of a frame: z = (x - mean) / sd, with a mean and an sd for each number.

Actions and observations come in units of their own, such as metres and radians. Diffusion adds noise of one size to
all numbers, which should therefore be of one size too.
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

CONSTANT = 1e-6
"""Standard deviation, as a share of the largest, below which a number counts as constant: its sd becomes 1."""


@final
@checked_init("um.codec.Standardize")
@dataclass(frozen=True)
class Standardize:
    """A mean and a standard deviation for each number of the last axis.

    Args:
        mean: The mean of each number.
        sd: The standard deviation of each, above 0.

    Raises:
        UsageError: If there are not as many of both, or a standard deviation is not a positive number.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]

    def __post_init__(self) -> None:
        finite = all(math.isfinite(each) for each in (*self.mean, *self.sd))
        if not self.mean or len(self.mean) != len(self.sd) or not finite or min(self.sd) <= 0:
            raise UsageError(
                f"Standardize was given {len(self.mean)} means and {len(self.sd)} standard deviations",
                "as many finite means as positive standard deviations",
                "Standardize.of(actions)",
            )

    @classmethod
    def of(cls, values: Float[Tensor, "*n numbers"]) -> Standardize:
        """The codec under which these values have mean 0 and standard deviation 1.

        Args:
            values: [*n, numbers]. A number that never changes is shifted only.

        Returns:
            The codec.
        """
        flat = values.flatten(0, -2).double()
        sd = flat.std(0, correction=0)
        sd = sd.where(sd > CONSTANT * sd.max(), sd.new_ones(()))
        return cls(tuple(flat.mean(0).tolist()), tuple(sd.tolist()))

    def encode(self, x: Float[Tensor, "*n numbers"], rng: Random | None = None) -> Float[Tensor, "*n numbers"]:
        return (x - x.new_tensor(self.mean)) / x.new_tensor(self.sd)

    def decode(self, z: Float[Tensor, "*n numbers"]) -> Float[Tensor, "*n numbers"]:
        return z.new_tensor(self.mean) + z.new_tensor(self.sd) * z

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(shape)

    def log_det(self, dim: int) -> float:
        """log |dz / dx| of a row, which converts a log-density in model space to one in data space by addition.

        Args:
            dim: Numbers in a row, a multiple of those of the last axis.

        Returns:
            Nats.
        """
        return -sum(math.log(each) for each in self.sd) * (dim / len(self.sd))
