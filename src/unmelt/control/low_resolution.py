"""A picture with everything finer than a box of pixels averaged out."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unmelt.errors import UsageError


@final
@dataclass(frozen=True, kw_only=True)
class LowResolution:
    """The picture at a lower resolution, each pixel repeated over its box.

    Args:
        channels: Channels of the picture.
        factor: Side of a box, in pixels.

    Raises:
        UsageError: If one of them is below 1.
    """

    name: ClassVar[str] = "low-resolution"
    channels: int
    factor: int = 4

    def __post_init__(self) -> None:
        if min(self.channels, self.factor) < 1:
            raise UsageError(f"{self!r}", "whole numbers of at least 1", "LowResolution(channels=3, factor=4)")

    def __call__(self, x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows channels h w"]:
        return F.interpolate(F.avg_pool2d(x, self.factor, ceil_mode=True), scale_factor=self.factor)[
            ..., : x.shape[-2], : x.shape[-1]
        ]
