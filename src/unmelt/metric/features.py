"""What images are compared by: functions from images to a few numbers, each with a name to report scores under.

A Frechet distance means nothing without the features it was taken in. None of these are the Inception features of
published FIDs, and scores are not comparable with those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unmelt.metric.classifier import Classifier


@runtime_checkable
class Features(Protocol):
    """Images in, features out, and a name for the two together."""

    @property
    def name(self) -> str: ...

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]: ...


@final
@dataclass(frozen=True)
class Pixels:
    """The pixels themselves, averaged over areas down to at most size x size: nothing is learned."""

    size: int = 8

    @property
    def name(self) -> str:
        return f"pixels{self.size}"

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        height, width = (min(self.size, side) for side in images.shape[-2:])
        return F.adaptive_avg_pool2d(images.double(), (height, width)).flatten(1)


@final
@dataclass(frozen=True)
class Margins:
    """A judge's margins between every pair of classes: what the image looks like, and how clearly.

    Learned from real labels, so it weighs the strokes that tell classes apart and not the ones that do not; blind to
    whatever its classes do not depend on, so use it beside `Pixels`, not instead.
    """

    judge: Classifier

    @property
    def name(self) -> str:
        return "margins"

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return self.judge.margins(images)
