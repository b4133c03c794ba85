"""A convolutional autoencoder of images whose latents are noisy: the first stage of latent diffusion.

    q(z | x) = N(mu(x), diag exp(v(x))),      image = decoder(z)

(Kingma and Welling, 2014; Rombach et al., 2022, section 3.1.) Trained with a small weight on

    KL(q || N(0, 1)) = 1/2 sum (mu^2 + e^v - 1 - v)

the latents are smooth and of bounded size. Diffusion wants them centred and of unit size: `encode` subtracts the mean
of each channel and divides by its standard deviation, which are measured after training and saved with the weights.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.codec.image_stages import ImageDecoder, ImageEncoder, coarse_sides
from unmelt.errors import UsageError
from unmelt.rng import Random

LOG_VARIANCE = (-20.0, 10.0)
"""Limits of v, beyond which it has no gradient."""


class LatentDistribution(NamedTuple):
    """q(z | x): independent Gaussians, before latents are normalised.

    Args:
        mean: mu, [rows, latents, h, w].
        log_variance: v, [rows, latents, h, w].
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, rng: Random) -> Float[Tensor, "rows latents h w"]:
        """Draw latents.

        Args:
            rng: Source of randomness.

        Returns:
            [rows, latents, h, w].
        """
        noise = rng.normal(self.mean.shape).to(self.mean)
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def kl(self) -> Float[Tensor, " rows"]:
        """KL(q || N(0, 1)).

        Returns:
            [rows], nats.
        """
        terms = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * terms.flatten(1).sum(1)


@final
@checked_init("um.codec.Autoencoder")
class Autoencoder(CallRepr, nn.Module):
    """Convolutional autoencoder with a KL term: images in [0, 1] to latents of about unit size, and back.

    Sides of images are divided by patch * 2^(len(widths) - 1); the defaults divide them by 4.

    Args:
        channels: Of the images.
        latent_channels: Of the latents.
        patch: Side of the squares that become one place of the finest grid, before anything is learned.
        widths: Channels on each grid, from the finest to the coarsest, each a multiple of 4; each grid is half as fine
            as the one before it. Neighbours differ by powers of 2.
        blocks: Residual blocks on each grid, each way.

    Raises:
        UsageError: If sizes do not fit one another.
    """

    latent_mean: Tensor
    latent_sd: Tensor

    def __init__(
        self,
        *,
        channels: int = 3,
        latent_channels: int = 4,
        patch: int = 2,
        widths: Sequence[int] = (64, 128),
        blocks: Sequence[int] = (1, 2),
    ) -> None:
        super().__init__()
        self.channels, self.latent_channels, self.patch = channels, latent_channels, patch
        self.widths, self.blocks = tuple(widths), tuple(blocks)
        check_sizes("Autoencoder", self.widths, self.blocks, channels=channels, latents=latent_channels, patch=patch)
        self.encoder = ImageEncoder(channels, 2 * latent_channels, patch, self.widths, self.blocks)
        self.decoder = ImageDecoder(channels, latent_channels, patch, self.widths, self.blocks)
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_sd", torch.ones(latent_channels))

    @property
    def factor(self) -> int:
        """By what sides of images are divided."""
        return self.patch * 2 ** (len(self.widths) - 1)

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (self.latent_channels, *coarse_sides(shape, self.channels, self.factor))

    def latents(self, x: Float[Tensor, "rows channels h w"]) -> LatentDistribution:
        """q(z | x), before normalisation.

        Args:
            x: [rows, channels, height, width], images in [0, 1].

        Returns:
            Mean and logarithm of the variance.

        Raises:
            UsageError: If the shape is not one that the autoencoder takes.
        """
        self.latent_shape(x.shape[1:])
        mean, log_variance = self.encoder(2 * x.to(self.latent_mean.dtype) - 1).chunk(2, 1)
        return LatentDistribution(mean, log_variance.clamp(*LOG_VARIANCE))

    def reconstruct(self, z: Float[Tensor, "rows latents h w"]) -> Float[Tensor, "rows channels image_h image_w"]:
        """Images of latents as `latents` has them, not clamped.

        Args:
            z: [rows, latents, h, w], not normalised.

        Returns:
            [rows, channels, height, width], in [0, 1] but for errors.
        """
        return (self.decoder(z) + 1) / 2

    def encode(
        self, x: Float[Tensor, "rows channels h w"], rng: Random | None = None
    ) -> Float[Tensor, "rows latents ..."]:
        found = self.latents(x)
        z = found.mean if rng is None else found.sample(rng)
        return (z - self.latent_mean[:, None, None]) / self.latent_sd[:, None, None]

    def decode(self, z: Float[Tensor, "rows latents h w"]) -> Float[Tensor, "rows channels image_h image_w"]:
        z = z.to(self.latent_mean.dtype) * self.latent_sd[:, None, None] + self.latent_mean[:, None, None]
        return self.reconstruct(z).float().clamp(0, 1)

    @torch.no_grad()
    def normalize(self, mean: Float[Tensor, " latents"], sd: Float[Tensor, " latents"]) -> None:
        """Set what `encode` subtracts and divides by.

        Args:
            mean: Mean of each latent channel, as `latents` has it.
            sd: Standard deviation of each, above 0.

        Raises:
            UsageError: If a number is not finite, or a deviation not positive.
        """
        if not (mean.isfinite().all() and sd.isfinite().all() and (sd > 0).all()):
            raise UsageError(
                f"latents of mean {mean.tolist()} and deviation {sd.tolist()}",
                "finite means and positive deviations",
                "training again, or more images",
            )
        self.latent_mean.copy_(mean)
        self.latent_sd.copy_(sd)


def check_sizes(owner: str, widths: Sequence[int], blocks: Sequence[int], **least_one: int) -> None:
    """Refuse sizes of which no network can be made.

    Args:
        owner: Name of the codec.
        widths: Channels on each grid.
        blocks: Residual blocks on each grid.
        **least_one: Numbers that must be at least 1, by name.

    Raises:
        UsageError: If there is one.
    """
    if small := [name for name, value in least_one.items() if value < 1]:
        raise UsageError(
            f"{owner} was given {small[0]}={least_one[small[0]]}", "a whole number, 1 or more", f"{owner}(...)"
        )
    if not widths or len(widths) != len(blocks) or min(blocks) < 0:
        raise UsageError(
            f"{owner} was given widths={tuple(widths)} and blocks={tuple(blocks)}",
            "a width and a number of blocks for each grid",
            f"{owner}(widths=(64, 128), blocks=(1, 2))",
        )
    fine = [min(pair) > 0 and 4 * pair[0] % pair[1] == 0 and 4 * pair[1] % pair[0] == 0 for pair in pairwise(widths)]
    if any(width < 4 or width % 4 for width in widths) or not all(fine):
        raise UsageError(
            f"{owner} was given widths={tuple(widths)}",
            "multiples of 4, of which 4 times each is a multiple of its neighbour",
            f"{owner}(widths=(64, 128, 256), blocks=(1, 1, 2))",
        )
