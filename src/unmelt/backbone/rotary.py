"""Attention in which only distances count: queries and keys are turned by their places (RoPE; Su et al., 2024).

    <turn(q, i), turn(k, j)> depends on i - j,      turn(x, i) = x rotated by i / 10000^(2 m / d) in its m-th plane

Queries and keys are brought to one length first (Dehghani et al., 2023), which keeps the softmax from saturating. What
was read before can be kept in a `Past`, so that a sequence that grows is not read again. Where blocks are learned, a
clean row stands beside the melted one, and what no place may read is not worked out (`beside`). A place may have more
than one number, such as its row and its column: the planes are then shared out among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.errors import UsageError

BASE = 10_000.0

SHORT = 1024
"""Places up to which a processor learns faster from the formula written out than from torch's fused kernel, which takes
twice as long for the gradient."""


def angles(places: Int64[Tensor, "n axes"], features: int) -> Float[Tensor, "n half"]:
    """By how much each pair of features is turned at each place, pairs and axes in turn."""
    axes, pair = places.shape[1], torch.arange(features // 2, device=places.device)
    frequency = BASE ** (-2.0 * (pair // axes * axes).double() / features)
    return (places[:, pair % axes] * frequency).float()


def turned(x: Float[Tensor, "rows heads n features"], angle: Float[Tensor, "n half"]) -> Tensor:
    """x, each place by its own angles."""
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def read(query: Tensor, key: Tensor, value: Tensor, mask: Bool[Tensor, "n all"] | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, over the keys that the mask leaves."""
    if query.device.type != "cpu" or not torch.is_grad_enabled() or key.shape[2] > SHORT:
        return F.scaled_dot_product_attention(query, key, value, mask)
    scores = _scaled(query) @ key.mT
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1) @ value


def beside(query: Tensor, key: Tensor, value: Tensor, n: int, block: int) -> Tensor:
    """What places read where the first n of them are a clean row, and those after it the same row melted, once or more.

    A clean place reads from its own block and those before it; a melted one from the clean blocks before its own, and
    from its own as it has melted.
    """
    copies = query.shape[2] // n - 1
    (clean_query, query), (clean_key, key), (clean_value, value) = (
        each.split([n, copies * n], 2) for each in (query, key, value)
    )
    at = torch.arange(n, device=query.device) // block
    clean = read(clean_query, clean_key, clean_value, at[None] <= at[:, None])
    query, key, value = (each.unflatten(2, (copies, n)) for each in (_scaled(query), key, value))
    before = (query @ clean_key[:, :, None].mT).masked_fill(at[None] >= at[:, None], -math.inf)
    own = (_cut(query, block) @ _cut(key, block).mT).flatten(3, 4)[..., :n, :]
    own = own.masked_fill(at[:, None] * block + torch.arange(block, device=at.device) >= n, -math.inf)
    share = torch.cat([before, own], -1).softmax(-1)
    near = (_cut(share[..., n:], block) @ _cut(value, block)).flatten(3, 4)[..., :n, :]
    return torch.cat([clean, (share[..., :n] @ clean_value[:, :, None] + near).flatten(2, 3)], 2)


def _scaled(query: Tensor) -> Tensor:
    return query * query.shape[-1] ** -0.5


def _cut(x: Float[Tensor, "*more n features"], block: int) -> Float[Tensor, "*more blocks block features"]:
    """In blocks, the last one filled up with zeros."""
    return F.pad(x, (0, 0, 0, -x.shape[-2] % block)).unflatten(-2, (-1, block))


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
        pair: tuple[int, int] | None = None,
    ) -> Float[Tensor, "rows n width"]:
        """pair   (places of a row, those of a block), if x is a clean row with melted ones after it"""
        query, key, value = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self._three(x))
        query = turned(self.query_norm(query), angle).to(value.dtype)
        key = turned(self.key_norm(key), angle).to(value.dtype)
        if past is not None:
            key, value = past.read(key, value)
        found = read(query, key, value, mask) if pair is None else beside(query, key, value, *pair)
        return self.out(found.transpose(1, 2).flatten(2))

    def _three(self, x: Tensor) -> Sequence[Tensor]:
        return self.project(x).chunk(3, dim=-1)
