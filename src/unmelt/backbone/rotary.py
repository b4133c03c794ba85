"""Attention in which only distances count: queries and keys are turned by their places (RoPE; Su et al., 2024).

    <turn(q, i), turn(k, j)> depends on i - j,      turn(x, i) = x rotated by i / 10000^(2 m / d) in its m-th plane

Queries and keys are brought to one length first (Dehghani et al., 2023), which keeps the softmax from saturating. What
was read before can be kept in a `Past`, so that a sequence that grows is not read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.errors import UsageError

BASE = 10_000.0


def angles(places: Int64[Tensor, " n"], features: int) -> Float[Tensor, "n half"]:
    """By how much each pair of features is turned at each place."""
    frequency = BASE ** (-torch.arange(0, features, 2, dtype=torch.float64, device=places.device) / features)
    return (places[:, None] * frequency).float()


def turned(x: Float[Tensor, "rows heads n features"], angle: Float[Tensor, "n half"]) -> Tensor:
    """x, each place by its own angles."""
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


@dataclass
class Past:
    """Keys and values of places read before, layer by layer; those of the places being read now are put after them.

    kept   [rows, layers, 2, heads, places, features] of the past, or None where there is none
    seen   of what is read now, filled by the network as it goes; `grown` is past and now together
    """

    kept: Float[Tensor, "rows layers two heads places features"] | None = None
    seen: list[Tensor] = field(default_factory=list)

    @property
    def length(self) -> int:
        return 0 if self.kept is None else self.kept.shape[4]

    def read(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of this layer, which is the next one."""
        layer = len(self.seen)
        self.seen.append(torch.stack([key, value], 1))
        if self.kept is None:
            return key, value
        before = self.kept[:, layer].to(key.dtype)
        return torch.cat([before[:, 0], key], 2), torch.cat([before[:, 1], value], 2)

    def grown(self, places: int | None = None) -> Tensor:
        """What is to be kept from now on: the past and, of what was read, the first so many places."""
        new = torch.stack(self.seen, 1)[..., :places, :]
        return new if self.kept is None else torch.cat([self.kept, new.to(self.kept)], 4)


class RotaryAttention(nn.Module):
    """Places that read from one another, as far as a mask lets them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % (2 * heads):
            raise UsageError(
                f"attention was given heads={heads} over {width} features",
                "an even number of features for each head",
                f"width={2 * heads * max(1, round(width / (2 * heads)))}",
            )
        self.heads = heads
        self.query_norm, self.key_norm = (nn.RMSNorm(width // heads, elementwise_affine=False) for _ in range(2))
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "rows n width"],
        angle: Float[Tensor, "n half"],
        mask: Bool[Tensor, "n all"] | None = None,
        past: Past | None = None,
    ) -> Float[Tensor, "rows n width"]:
        query, key, value = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self._three(x))
        query = turned(self.query_norm(query), angle).to(value.dtype)
        key = turned(self.key_norm(key), angle).to(value.dtype)
        if past is not None:
            key, value = past.read(key, value)
        read = F.scaled_dot_product_attention(query, key, value, mask)
        return self.out(read.transpose(1, 2).flatten(2))

    def _three(self, x: Tensor) -> Sequence[Tensor]:
        return self.project(x).chunk(3, dim=-1)
