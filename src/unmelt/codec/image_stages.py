"""The networks of image autoencoders: residual convolutions, on grids that are halved and doubled.

A grid is halved by moving each square of 2 x 2 places into the channels of one, and doubled by the inverse. Beside each
learned halving or doubling runs one without weights, to which it is added,

    coarser(x) = unshuffle(conv(x)) + mean over groups of channels of unshuffle(x)
    finer(x)   = shuffle(conv(x)) + shuffle(repeated channels of x)

so that a network which has learned nothing yet already passes averages on (residual autoencoding: Chen et al., 2025,
"Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models", section 3.1). There is no attention: a
network takes images of any size that its grids divide.
"""

import math
from collections.abc import Sequence
from typing import final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.errors import UsageError


def grouped_mean(x: Float[Tensor, "rows inner *space"], channels: int) -> Float[Tensor, "rows outer *space"]:
    """Fewer channels, each the mean of as many neighbours; the inverse of repeating channels.

    Args:
        x: [rows, inner, *space].
        channels: Channels of the result; they divide those of x.

    Returns:
        [rows, channels, *space].
    """
    return x.unflatten(1, (channels, -1)).mean(2)


def coarse_sides(shape: Sequence[int], channels: int, factor: int) -> tuple[int, ...]:
    """The sides of the grid that an image is encoded to.

    Args:
        shape: Shape of one image, (channels, height, width).
        channels: Channels that images must have.
        factor: By what sides are divided.

    Returns:
        Height and width of the grid.

    Raises:
        UsageError: If the image has other channels, or sides that the factor does not divide.
    """
    if len(shape) != 3 or shape[0] != channels or any(side < 1 or side % factor for side in shape[1:]):
        raise UsageError(
            f"images of shape {tuple(shape)}",
            f"{channels} channels and sides that are multiples of {factor}",
            f"size={max(factor, round(max(shape[1:], default=1) / factor) * factor)}",
        )
    return tuple(side // factor for side in shape[1:])


def _norm(channels: int) -> nn.GroupNorm:
    """Group normalisation over four channels a group or more, in at most 32 groups."""
    return nn.GroupNorm(math.gcd(channels // 4, 32), channels, eps=1e-6)


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


@final
class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))). It begins as the identity.

    Args:
        channels: Channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first_norm, self.first = _norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.second_norm, self.second = _norm(channels), _zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows channels h w"]:
        """The features after the block.

        Args:
            x: [rows, channels, height, width].

        Returns:
            [rows, channels, height, width].
        """
        h = self.first(F.silu(self.first_norm(x)))
        return x + self.second(F.silu(self.second_norm(h)))


@final
class Coarser(nn.Module):
    """Halves a grid.

    Args:
        inner: Channels before, of which 4 make a whole number of `outer`.
        outer: Channels after, a multiple of 4.
    """

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.outer = outer
        self.conv = nn.Conv2d(inner, outer // 4, 3, padding=1)

    def forward(self, x: Float[Tensor, "rows inner h w"]) -> Float[Tensor, "rows outer half_h half_w"]:
        """The coarser grid.

        Args:
            x: [rows, inner, height, width], of even sides.

        Returns:
            [rows, outer, height / 2, width / 2].
        """
        return F.pixel_unshuffle(self.conv(x), 2) + grouped_mean(F.pixel_unshuffle(x, 2), self.outer)


@final
class Finer(nn.Module):
    """Doubles a grid.

    Args:
        inner: Channels before, which make a whole number of 4 `outer`.
        outer: Channels after.
    """

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.copies = 4 * outer // inner
        self.conv = nn.Conv2d(inner, 4 * outer, 3, padding=1)

    def forward(self, x: Float[Tensor, "rows inner h w"]) -> Float[Tensor, "rows outer double_h double_w"]:
        """The finer grid.

        Args:
            x: [rows, inner, height, width].

        Returns:
            [rows, outer, 2 height, 2 width].
        """
        return F.pixel_shuffle(self.conv(x) + x.repeat_interleave(self.copies, 1), 2)


@final
class ImageEncoder(nn.Module):
    """From an image to features on a coarse grid.

    Args:
        channels: Of the image.
        outputs: Features of each place of the coarse grid.
        patch: Side of the squares that become the channels of one place, before anything is learned.
        widths: Channels on each grid, from the finest to the coarsest.
        blocks: Residual blocks on each grid.
    """

    def __init__(self, channels: int, outputs: int, patch: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.patch = patch
        layers: list[nn.Module] = [nn.Conv2d(channels * patch**2, widths[0], 3, padding=1)]
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            layers += [Coarser(widths[i - 1], width)] if i else []
            layers += [ResidualBlock(width) for _ in range(count)]
        layers += [_norm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], outputs, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows outputs coarse_h coarse_w"]:
        """The features.

        Args:
            x: [rows, channels, height, width], whose sides the grids divide.

        Returns:
            [rows, outputs, height / factor, width / factor].
        """
        features: Tensor = self.layers(F.pixel_unshuffle(x, self.patch))
        return features


@final
class ImageDecoder(nn.Module):
    """From latents on a coarse grid to an image.

    Args:
        channels: Of the image.
        inputs: Channels of the latents.
        patch: As of the encoder, for the next two as well.
        widths: Channels on each grid, from the finest to the coarsest.
        blocks: Residual blocks on each grid.
    """

    def __init__(self, channels: int, inputs: int, patch: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.patch = patch
        layers: list[nn.Module] = [nn.Conv2d(inputs, widths[-1], 3, padding=1)]
        for i in reversed(range(len(widths))):
            layers += [ResidualBlock(widths[i]) for _ in range(blocks[i])]
            layers += [Finer(widths[i], widths[i - 1])] if i else []
        layers += [_norm(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], channels * patch**2, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    @property
    def last(self) -> nn.Conv2d:
        """The layer that makes pixels, by whose gradients losses are weighed against one another."""
        layer = self.layers[-1]
        assert isinstance(layer, nn.Conv2d)
        return layer

    def forward(self, z: Float[Tensor, "rows inputs coarse_h coarse_w"]) -> Float[Tensor, "rows channels h w"]:
        """The image.

        Args:
            z: [rows, inputs, height / factor, width / factor].

        Returns:
            [rows, channels, height, width].
        """
        return F.pixel_shuffle(self.layers(z), self.patch)
