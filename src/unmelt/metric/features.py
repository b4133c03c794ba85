"""Features in which images are compared, each with a name to report scores under.

A Fréchet distance means nothing without the features it was taken in. None of these are the Inception features of
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
    """A function from images to feature vectors."""

    @property
    def name(self) -> str:
        """The name that scores are reported under."""

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Compute the features of each image.

        Args:
            images: Images in [0, 1].

        Returns:
            The features [n, d].
        """


@final
@dataclass(frozen=True)
class Pixels:
    """The pixels themselves, averaged over areas; nothing is learned.

    Args:
        size: Side of the grid that images are averaged down to; smaller images are taken as they are.
    """

    size: int = 8

    @property
    def name(self) -> str:
        return f"pixels{self.size}"

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        height, width = (min(self.size, side) for side in images.shape[-2:])
        return F.adaptive_avg_pool2d(images.double(), (height, width)).flatten(1)


@final
@dataclass(frozen=True)
class ClassifierMargins:
    """A classifier's decision values between every pair of classes: what an image looks like, and how clearly.

    They weigh what tells classes apart and are blind to whatever classes do not depend on: use them beside `Pixels`,
    not in its place.

    Args:
        classifier: The fitted classifier.
    """

    classifier: Classifier

    @property
    def name(self) -> str:
        return "margins"

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return self.classifier.margins(images)
