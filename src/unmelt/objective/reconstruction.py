"""What an autoencoder of images minimises: the error of its images, as pixels and as seen by a network.

    E [ |x' - x| + a d(x', x) + b KL(q(z | x) || N(0, 1)) ],      z ~ q(z | x),  x' = decoder(z)

with means over pixels, d a perceptual distance (`perceptual.py`) and the KL in nats a number of the image (Rombach et
al., 2022, appendix G). A part of the rows may be decoded from transformed latents (`equivariance.py`).
"""

from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.objective.equivariance import Equivariance
from unmelt.objective.perceptual import ImageFeatures, perceptual_distance
from unmelt.rng import Random


@final
@checked_init("um.objective.Reconstruction")
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The error of reconstructed images: one number a row.

    Args:
        pixels: Error of pixels: absolute ("l1") or squared ("l2"), averaged.
        kl: b above, weight of the KL term in nats a number of the image. Tokens have none.
        perceptual: a above, weight of the perceptual distance.
        features: The network in whose features it is taken. None: no such term.
        equivariance: Which rows are decoded from transformed latents. None: none.

    Raises:
        UsageError: If a weight is negative.
    """

    pixels: Literal["l1", "l2"] = "l1"
    kl: float = 1e-3
    perceptual: float = 0.3
    features: ImageFeatures | None = None
    equivariance: Equivariance | None = None

    def __post_init__(self) -> None:
        for name in ("kl", "perceptual"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(
                    f"Reconstruction with {name}={getattr(self, name)}",
                    "a weight of at least 0",
                    f"Reconstruction({name}={getattr(type(self), name)})",
                )

    def __call__(
        self, denoiser: Any, x0: Float[Tensor, "rows channels h w"], condition: Condition | None, rng: Random
    ) -> Float[Tensor, " rows"]:
        """The loss of each row.

        Args:
            denoiser: The autoencoder, which stands where other objectives have a denoiser.
            x0: [rows, channels, height, width], images in [0, 1].
            condition: What is known of each row, which makes no difference.
            rng: Source of randomness.

        Returns:
            [rows].
        """
        z, loss = latents_of(denoiser, x0, rng)
        loss = self.kl / x0[0].numel() * loss
        if self.equivariance is None:
            return loss + self.error(denoiser.reconstruct(z), x0)
        for rows, latents, images in self.equivariance.pairs(z, x0, rng):
            loss = loss.index_add(0, rows, self.error(denoiser.reconstruct(latents), images))
        return loss

    def error(
        self, made: Float[Tensor, "rows channels h w"], real: Float[Tensor, "rows channels h w"]
    ) -> Float[Tensor, " rows"]:
        """The error of images, without the KL term.

        Args:
            made: [rows, channels, height, width], what the autoencoder made.
            real: [rows, channels, height, width], what it was given.

        Returns:
            [rows].
        """
        difference = (made - real).float()
        error = (difference.abs() if self.pixels == "l1" else difference.square()).flatten(1).mean(1)
        if self.features is None or self.perceptual == 0:
            return error
        return error + self.perceptual * perceptual_distance(self.features, made, real)


def latents_of(codec: Any, x: Float[Tensor, "rows channels h w"], rng: Random) -> tuple[Tensor, Tensor]:
    """Latents with gradients, and what they cost.

    Args:
        codec: The autoencoder.
        x: [rows, channels, height, width], images in [0, 1].
        rng: Source of randomness.

    Returns:
        Latents that `reconstruct` takes, and the KL of each row in nats; 0 for tokens.
    """
    found = codec.latents(x)
    if isinstance(found, Tensor):
        return found, torch.zeros(len(x), device=x.device)
    return found.sample(rng), found.kl().float()
