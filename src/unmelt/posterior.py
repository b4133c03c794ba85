"""What a denoiser believes about the clean data x0, having seen x_t."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Posterior(Protocol):
    """A belief about x0. Guidance mixes beliefs; samplers turn them into steps."""

    def lerp(self, other: Any, weight: float | Tensor) -> Any:
        """This belief at weight 0, the other at 1, and on along the same line beyond."""


@dataclass(frozen=True)
class Point:
    """The belief of a Gaussian process: the mean E[x0 | x_t], which is all its score and its ODE need."""

    mean: Float[Tensor, "rows *shape"]

    def lerp(self, other: Point, weight: float | Tensor) -> Point:
        return Point(torch.lerp(self.mean, other.mean, weight))
