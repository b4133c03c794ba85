"""Equivariance of a decoder: latents that are shrunk and turned are to decode to the shrunk and turned image.

    decoder(tau z) = tau x,      tau a change of scale, then quarter turns

Latents of an autoencoder carry detail that pixels of the same place do not show, which makes their law hard to learn.
Asking for this equation in training smooths them (EQ-VAE: Kouzelis et al., 2025, section 4). A part of the rows is
decoded so in place of as they are; it costs no further call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.rng import Random


class Pair(NamedTuple):
    """Some of the rows of a batch, transformed alike.

    Args:
        rows: [some], their numbers.
        z: [some, latents, h, w], their latents.
        x: [some, channels, height, width], their images.
    """

    rows: Tensor
    z: Tensor
    x: Tensor


@final
@checked_init("um.objective.Equivariance")
@dataclass(frozen=True, kw_only=True)
class Equivariance:
    """Which rows are transformed, and how.

    Args:
        share: Share of the rows that are transformed, on average.
        scales: Factors on the sides of the latents, at most 1, of which each row draws one.

    Raises:
        UsageError: If the share is not in [0, 1], or a scale not in (0, 1].
    """

    share: float = 0.5
    scales: tuple[float, ...] = (0.5, 0.75, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise UsageError(
                f"Equivariance with share={self.share}, scales={self.scales}",
                "a share from 0 to 1, and scales above 0 of at most 1",
                "Equivariance(share=0.5, scales=(0.5, 0.75, 1.0))",
            )

    def pairs(
        self, z: Float[Tensor, "rows latents h w"], x: Float[Tensor, "rows channels image_h image_w"], rng: Random
    ) -> Iterator[Pair]:
        """Transform a part of the rows, and hand all of them on in groups of one size.

        Args:
            z: [rows, latents, h, w], latents.
            x: [rows, channels, height, width], their images.
            rng: Source of randomness.

        Yields:
            Rows with their latents and images. Every row is in one group.
        """
        draws = rng.uniform((len(z), 3)).to(z.device)
        transformed = draws[:, 0] < self.share
        scale = (draws[:, 1] * len(self.scales)).long()
        square = z.shape[-1] == z.shape[-2]
        turns = (draws[:, 2] * (4 if square else 2)).long() * (1 if square else 2)
        whole = (~transformed).nonzero()[:, 0]
        if len(whole):
            yield Pair(whole, z[whole], x[whole])
        for number, factor in enumerate(self.scales):
            rows = (transformed & (scale == number)).nonzero()[:, 0]
            if len(rows):
                size = [max(1, round(factor * side)) for side in z.shape[2:]]
                image = [side * (of_x // of_z) for side, of_x, of_z in zip(size, x.shape[2:], z.shape[2:], strict=True)]
                yield Pair(
                    rows, turned(resized(z[rows], size), turns[rows]), turned(resized(x[rows], image), turns[rows])
                )


def resized(x: Float[Tensor, "rows channels h w"], size: Sequence[int]) -> Float[Tensor, "rows channels new_h new_w"]:
    """Shrink grids, each place being a weighted mean of those that it covers.

    Args:
        x: [rows, channels, h, w].
        size: New sides.

    Returns:
        [rows, channels, *size]; x itself if it has these sides.
    """
    if tuple(size) == tuple(x.shape[2:]):
        return x
    return F.interpolate(x, list(size), mode="bilinear", antialias=True)


def turned(x: Float[Tensor, "rows channels h w"], turns: Tensor) -> Float[Tensor, "rows channels h w"]:
    """Turn each grid by its number of quarter turns.

    Args:
        x: [rows, channels, h, w]; square where a number is odd.
        turns: [rows], from 0 to 3.

    Returns:
        [rows, channels, h, w].
    """
    out = x
    for number in turns.unique().tolist():
        if number:
            chosen = (turns == number).view(-1, 1, 1, 1)
            out = torch.where(chosen, torch.rot90(x, number, (2, 3)), out)
    return out
