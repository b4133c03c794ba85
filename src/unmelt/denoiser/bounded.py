"""Beliefs held within the range of the data, as pixel-space models are sampled.

    clip        x0 <- clamp(x0, -limit, limit)                                         (Ho et al., 2020)
    threshold   x0 <- clamp(x0, -s, s) / s,   s = clamp(quantile of |x0| in the row, 1, most)
                                                                 (dynamic thresholding; Saharia et al., 2022)

Guidance mixes beliefs as the network has them, and the mixture is bounded (`Point.within`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.denoiser.network import NetworkDenoiser
from unmelt.denoiser.prediction import Prediction
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian


class Bound(ABC):
    """What holds beliefs within a range."""

    @abstractmethod
    def __call__(self, mean: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows *shape"]:
        """Hold believed data within the range.

        Args:
            mean: [rows, *shape], believed x0.

        Returns:
            The same shape.
        """


@final
@checked_init("um.denoiser.Clip")
@dataclass(frozen=True)
class Clip(Bound):
    """Clamp every number.

    Args:
        limit: Largest absolute value.

    Raises:
        UsageError: If the limit is not positive.
    """

    limit: float = 1.0

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise UsageError(f"Clip(limit={self.limit})", "a positive number", "Clip(1.0)")

    def __call__(self, mean: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows *shape"]:
        return mean.clamp(-self.limit, self.limit)


@final
@checked_init("um.denoiser.DynamicThreshold")
@dataclass(frozen=True)
class DynamicThreshold(Bound):
    """Clamp each row to a quantile of its absolute values, and scale it to [-1, 1].

    Args:
        quantile: Which quantile, from 0 to 1.
        most: Largest value to which a row is clamped; 1 is plain clipping.

    Raises:
        UsageError: If the quantile is not in [0, 1], or `most` is below 1.
    """

    quantile: float = 0.995
    most: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.quantile <= 1 <= self.most):
            raise UsageError(
                f"DynamicThreshold(quantile={self.quantile}, most={self.most})",
                "a quantile from 0 to 1, and a largest value of at least 1",
                "DynamicThreshold(0.995, 1.5)",
            )

    def __call__(self, mean: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows *shape"]:
        ordered = mean.abs().flatten(1).sort(1).values  # torch.quantile takes no more than 2^24 numbers
        place = self.quantile * (ordered.shape[1] - 1)
        low = int(place)
        high = min(low + 1, ordered.shape[1] - 1)
        s = torch.lerp(ordered[:, low], ordered[:, high], place - low).clamp(1, self.most)
        s = s.view(-1, *(1,) * (mean.ndim - 1))
        return torch.minimum(torch.maximum(mean, -s), s) / s


@final
@checked_init("um.denoiser.BoundedDenoiser")
class BoundedDenoiser(CallRepr, nn.Module):
    """A denoiser with a network, whose beliefs are held within a range when it samples.

    Args:
        denoiser: The denoiser.
        bound: What holds its beliefs within the range.
    """

    def __init__(self, denoiser: NetworkDenoiser, bound: Bound) -> None:
        super().__init__()
        self.denoiser, self.bound = denoiser, bound

    @property
    def backbone(self) -> nn.Module:
        """The network."""
        return self.denoiser.backbone

    @property
    def process(self) -> Gaussian:
        """The process of the inner denoiser."""
        return self.denoiser.process

    @property
    def prediction(self) -> Prediction:
        """What the network's output means."""
        return self.denoiser.prediction

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row of x."""
        return self.denoiser.shape

    @property
    def data_sd(self) -> float:
        """Standard deviation of the data."""
        return self.denoiser.data_sd

    def forward(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Point:
        """The belief about x0, within the range.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times.
            condition: What is known of each row.

        Returns:
            The belief.
        """
        return self.denoiser(x_t, t, condition).within(self.bound)
