"""Perceptual distance: how far two images are apart in the features of a network that knows images.

    d(a, b) = mean over blocks and places of |unit(h(a)) - unit(h(b))|^2,      unit(h) = h / |h| along the features

(Zhang et al., 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", without learned weights.)
Any network may give the features. A denoiser of images is one that is trained here: what its blocks make of a clean
image, taken as lightly noisy data (Lin and Yang, 2023, "Diffusion Model with Perceptual Loss").
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol, final, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.denoiser.features import with_features
from unmelt.errors import UsageError


@runtime_checkable
class ImageFeatures(Protocol):
    """A frozen network, as a function from images to the features of its blocks."""

    def __call__(self, images: Float[Tensor, "rows channels h w"]) -> list[Tensor]:
        """The features.

        Args:
            images: [rows, channels, height, width], in [0, 1].

        Returns:
            Of each block, [rows, places, width].
        """


@final
@checked_init("um.objective.DenoiserFeatures")
class DenoiserFeatures(CallRepr, nn.Module):
    """The features of a denoiser of images, which stays as it is.

    Args:
        denoiser: A denoiser of images in [-1, 1], with a network that says where its features are.
        noise: Noise level sigma / alpha at which the network takes the images to be, in units of the data's standard
            deviation. No noise is added.
        blocks: Which blocks, by number. None: all.

    Raises:
        UsageError: If the noise is not positive, or the denoiser has no such block.
    """

    def __init__(self, denoiser: nn.Module, noise: float = 0.2, blocks: Sequence[int] | None = None) -> None:
        super().__init__()
        if not 0 < noise < math.inf:
            raise UsageError(f"noise={noise}", "a positive number", "DenoiserFeatures(denoiser, noise=0.2)")
        count = len(getattr(getattr(denoiser, "backbone", denoiser), "feature_modules", ()))
        if blocks is not None and (not blocks or not all(0 <= block < count for block in blocks)):
            raise UsageError(
                f"blocks={tuple(blocks)} of a network with {count} blocks",
                f"numbers from 0 to {count - 1}",
                "blocks=None",
            )
        self.denoiser, self.noise, self.blocks = denoiser, noise, None if blocks is None else tuple(blocks)
        self.requires_grad_(False)

    def forward(self, images: Float[Tensor, "rows channels h w"]) -> list[Tensor]:
        """The features.

        Args:
            images: [rows, channels, height, width], in [0, 1].

        Returns:
            Of each block, [rows, places, width].
        """
        denoiser: Any = self.denoiser
        process = denoiser.process
        log_snr = torch.tensor(-2 * math.log(self.noise * denoiser.data_sd), dtype=torch.float64)
        t = process.schedule.time(log_snr).to(images.device).expand(len(images))
        alpha, _ = process.level(t[:1])
        found = with_features(denoiser, alpha.to(images.dtype) * (2 * images - 1), t, None).features
        return found if self.blocks is None else [found[block] for block in self.blocks]


def perceptual_distance(
    features: ImageFeatures, a: Float[Tensor, "rows channels h w"], b: Float[Tensor, "rows channels h w"]
) -> Float[Tensor, " rows"]:
    """d above, of each pair of images.

    Args:
        features: The network's features.
        a: [rows, channels, height, width], in [0, 1]. Gradients flow to it.
        b: [rows, channels, height, width]. No gradient flows to it.

    Returns:
        [rows].
    """
    with torch.no_grad():
        wanted = features(b)
    distances = [
        (F.normalize(mine.float(), dim=-1) - F.normalize(other.float(), dim=-1)).square().sum(-1).mean(1)
        for mine, other in zip(features(a), wanted, strict=True)
    ]
    return torch.stack(distances).mean(0)
