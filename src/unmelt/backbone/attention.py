"""Attention: every query reads from all the tokens it resembles.

    softmax(q k^T / sqrt(d)) v,      in each of several heads of d features

(Vaswani et al., 2017, equation 1.) `qk_norm` divides queries and keys by their root mean square first, which
keeps the softmax from saturating in long trainings (Dehghani et al., 2023).

On a processor that multiplies bfloat16, torch's fused kernel takes three to six times as long as the formula written
out; there it is written out, up to a length whose scores are still small beside the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unmelt.backbone.modulation import zeroed
from unmelt.errors import UsageError

LONGEST = 1024
"""Keys up to which scores are kept."""


def read(
    query: Float[Tensor, "rows heads queries features"],
    key: Float[Tensor, "rows heads tokens features"],
    value: Float[Tensor, "rows heads tokens features"],
    mask: Bool[Tensor, "rows 1 1 tokens"] | None = None,
) -> Float[Tensor, "rows heads queries features"]:
    """The formula above, over the tokens that the mask leaves."""
    if value.device.type != "cpu" or value.dtype != torch.bfloat16 or key.shape[2] > LONGEST:
        return F.scaled_dot_product_attention(query, key, value, mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1, value.dtype) @ value


@dataclass(frozen=True)
class Tokens:
    """A sequence to read from; made by `Tokens.of`.

    values  the tokens
    mask    True where a token may be read, or None where all may. A row with nothing to read has it True
            throughout, which keeps the softmax finite; what it reads is then thrown away
    silent  True where a row has nothing to read
    """

    values: Float[Tensor, "rows length width"]
    mask: Bool[Tensor, "rows 1 1 length"] | None = None
    silent: Bool[Tensor, "rows 1 1"] | None = None

    @classmethod
    def of(cls, values: Float[Tensor, "rows length width"], real: Bool[Tensor, "rows length"] | None = None) -> Tokens:
        """Tokens of which only the `real` ones are read."""
        if real is None:
            return cls(values)
        silent = ~real.any(1, keepdim=True)
        return cls(values, (real | silent)[:, None, None], silent[..., None])


class _Heads(nn.Module):
    """Scaled dot-product attention on queries, keys and values that are already projected."""

    def __init__(self, width: int, heads: int, qk_norm: bool) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            fits = max(n for n in range(1, max(heads, 1) + 1) if width % n == 0)
            raise UsageError(
                f"attention was given heads={heads} over {width} features",
                "heads must divide the features evenly",
                f"heads={fits}",
            )
        self.heads = heads
        self.query_norm = nn.RMSNorm(width // heads) if qk_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(width // heads) if qk_norm else nn.Identity()

    def _split(self, x: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows heads tokens features"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self,
        query: Float[Tensor, "rows queries width"],
        key: Float[Tensor, "rows tokens width"],
        value: Float[Tensor, "rows tokens width"],
        mask: Bool[Tensor, "rows 1 1 tokens"] | None = None,
    ) -> Float[Tensor, "rows queries width"]:
        query, key = self.query_norm(self._split(query)), self.key_norm(self._split(key))
        return read(query, key, self._split(value), mask).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Tokens that read from one another."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.read = _Heads(width, heads, qk_norm)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows tokens width"]:
        query, key, value = self.project(x).chunk(3, dim=-1)
        return self.out(self.read(query, key, value))


class CrossAttention(nn.Module):
    """What x reads from a sequence, or a learned null where there is nothing to read. Begins silent.

    The null stands in for the *answer*, not for a token, so that it is the same bit for bit however it came
    about: no sequence, a dropped one, or one with no real tokens.
    """

    def __init__(self, width: int, source: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.read = _Heads(width, heads, qk_norm)
        self.query = nn.Linear(width, width)
        self.project = nn.Linear(source, 2 * width)
        self.out = zeroed(nn.Linear(width, width))
        self.null = nn.Parameter(torch.zeros(width))

    def forward(
        self, x: Float[Tensor, "rows queries width"], tokens: Tokens | None
    ) -> Float[Tensor, "rows queries width"]:
        if tokens is None:
            return self.null.expand_as(x)
        key, value = self.project(tokens.values).chunk(2, dim=-1)
        answer = self.out(self.read(self.query(x), key, value, tokens.mask))
        return answer if tokens.silent is None else torch.where(tokens.silent, self.null, answer)
