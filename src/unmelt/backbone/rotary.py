"""Attention with rotary position embeddings, in which only distances count (RoPE; Su et al., 2024).

    <rotate(q, i), rotate(k, j)> depends on i - j,     rotate(x, i) = x rotated by i / 10000^(2 m / d) in its m-th plane

Queries and keys are normalised before the rotation (Dehghani et al., 2023), which keeps the softmax from saturating. A
position may have several coordinates, such as its row and its column; the planes are shared out among them.

Who attends to whom is a function from queries, keys and values to the attention's output, which the caller chooses:
`attention` under a mask, `cached_attention` over the slots of a `KVCache`, or `block_diffusion_attention`, which trains
block diffusion on a clean row with its noisy copies (Arriola et al., 2025, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.backbone.kv_cache import KVCache
from unmelt.errors import UsageError

BASE = 10_000.0
"""Base of the rotary frequencies."""

SHORT = 1024
"""Keys up to which the gradient on a CPU is faster through the written-out softmax than through torch's fused kernel,
which takes twice as long there."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values [rows, heads, n, features] to the output of attention, of the queries' shape."""


def rotary_angles(coordinates: Int64[Tensor, "*rows n axes"], features: int) -> Float[Tensor, "*rows n half"]:
    """Rotation angle of every pair of features at every position.

    Args:
        coordinates: Coordinates of each position.
        features: Features per head; pairs of them take the axes in turn.

    Returns:
        Angles in radians, one for each pair of features.
    """
    axes, pair = coordinates.shape[-1], torch.arange(features // 2, device=coordinates.device)
    frequency = BASE ** (-2.0 * (pair // axes * axes).double() / features)
    return (coordinates[..., pair % axes] * frequency).float()


def rotate(x: Float[Tensor, "rows heads n features"], angle: Float[Tensor, "*more n half"]) -> Tensor:
    """Rotate queries or keys by the angles of their positions.

    Args:
        x: Queries or keys.
        angle: Angles of the positions, in a shape that broadcasts to [rows, heads, n, features // 2].

    Returns:
        The rotated x, of the same shape.
    """
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Bool[Tensor, "*more n keys"] | None = None) -> Tensor:
    """Scaled dot-product attention, softmax(q k^T / sqrt(d)) v.

    Args:
        query: [rows, heads, n, features].
        key: [rows, heads, keys, features].
        value: [rows, heads, keys, features].
        mask: True where a query attends to a key; broadcasts to [rows, heads, n, keys]. None: everywhere.

    Returns:
        The output, [rows, heads, n, features].
    """
    if query.device.type != "cpu" or not torch.is_grad_enabled() or key.shape[2] > SHORT:
        return F.scaled_dot_product_attention(query, key, value, mask)
    scores = _scaled(query) @ key.mT
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1) @ value


def cached_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cache: KVCache,
    layer: int,
    positions: Int64[Tensor, "rows n"],
    keys: int,
    mask: Bool[Tensor, "rows 1 n keys"] | None = None,
) -> Tensor:
    """Attention over the slots of a cache, after the new keys and values have been written into theirs.

    Args:
        query: [rows, heads, n, features], of the positions that are being read.
        key: Keys of the same positions.
        value: Values of the same positions.
        cache: The cache, which is written to in place.
        layer: Number of this attention layer in the cache.
        positions: Position of each query in its row.
        keys: Number of slots, counted from the first, that are attended to.
        mask: True where a query attends to a slot. None: everywhere.

    Returns:
        The output, [rows, heads, n, features].
    """
    cache.write(layer, positions, key, value)
    cached = cache.kv[:, layer, :, :, :keys].to(query.dtype)
    return attention(query, cached[:, 0], cached[:, 1], mask)


def block_diffusion_attention(query: Tensor, key: Tensor, value: Tensor, length: int, block: int) -> Tensor:
    """Attention of a clean row and its noisy copies, without the scores that the block-diffusion mask excludes.

    A clean position attends to the clean positions of its own block and of earlier ones. A noisy position attends to
    the clean positions of earlier blocks and to the noisy positions of its own block in its own copy.

    Args:
        query: [rows, heads, (1 + copies) * length, features]: the clean row first, then its noisy copies.
        key: Of the same shape.
        value: Of the same shape.
        length: Positions of the clean row.
        block: Positions per block; the last block may be shorter.

    Returns:
        The output, of the same shape.
    """
    copies = query.shape[2] // length - 1
    (clean_query, query), (clean_key, key), (clean_value, value) = (
        each.split([length, copies * length], 2) for each in (query, key, value)
    )
    number = torch.arange(length, device=query.device) // block
    clean = attention(clean_query, clean_key, clean_value, number[None] <= number[:, None])
    query, key, value = (each.unflatten(2, (copies, length)) for each in (_scaled(query), key, value))
    earlier = (query @ clean_key[:, :, None].mT).masked_fill(number[None] >= number[:, None], -math.inf)
    own = (_by_blocks(query, block) @ _by_blocks(key, block).mT).flatten(3, 4)[..., :length, :]
    padding = number[:, None] * block + torch.arange(block, device=number.device) >= length
    weight = torch.cat([earlier, own.masked_fill(padding, -math.inf)], -1).softmax(-1)
    from_own = (_by_blocks(weight[..., length:], block) @ _by_blocks(value, block)).flatten(3, 4)[..., :length, :]
    return torch.cat([clean, (weight[..., :length] @ clean_value[:, :, None] + from_own).flatten(2, 3)], 2)


def _scaled(query: Tensor) -> Tensor:
    return query * query.shape[-1] ** -0.5


def _by_blocks(x: Float[Tensor, "*more n features"], block: int) -> Float[Tensor, "*more blocks block features"]:
    """x cut into blocks, the last one padded with zeros."""
    return F.pad(x, (0, 0, 0, -x.shape[-2] % block)).unflatten(-2, (-1, block))


class RotaryAttention(nn.Module):
    """Multi-head attention with rotary position embeddings.

    Args:
        width: Features of a position.
        heads: Attention heads; twice their number must divide the width.

    Raises:
        UsageError: If there is no even number of features for each head.
    """

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
        self, x: Float[Tensor, "rows n width"], angle: Float[Tensor, "*more n half"], attend: Attend
    ) -> Float[Tensor, "rows n width"]:
        """The output of attention at every position.

        Args:
            x: Features of the positions.
            angle: Rotation angles of the positions, from `rotary_angles`.
            attend: Who attends to whom: a function from queries, keys and values to the output.

        Returns:
            The output, of x's shape.
        """
        return self.out(attend(*self.heads_of(x, angle)).transpose(1, 2).flatten(2))

    def heads_of(
        self, x: Float[Tensor, "rows n width"], angle: Float[Tensor, "*more n half"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every position.

        Args:
            x: Features of the positions.
            angle: Rotation angles of the positions, from `rotary_angles`.

        Returns:
            Queries, keys and values, [rows, heads, n, features] each, normalised and rotated as attention needs them.
        """
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self.project(x).chunk(3, dim=-1)
        )
        query = rotate(self.query_norm(query), angle).to(value.dtype)
        return query, rotate(self.key_norm(key), angle).to(value.dtype), value
