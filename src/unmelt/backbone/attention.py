"""Attention: a weighted mean of values, by the similarity of queries and keys.

    softmax(q k^T / sqrt(d)) v,      in each of several heads of d features

(Vaswani et al., 2017, equation 1.) `qk_norm` divides queries and keys by their root mean square first, which
keeps the softmax from saturating in long trainings (Dehghani et al., 2023).

On a processor that multiplies bfloat16, torch's fused kernel takes three to six times as long as the formula written
out; there it is written out, up to a length whose scores are still small beside the rest. It is also written out under
forward-mode differentiation (`torch.func.jvp`), which the fused kernels do not support.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from unmelt.backbone.modulation import zeroed
from unmelt.errors import UsageError

LONGEST = 1024
"""Number of keys up to which the formula is written out."""


def read(
    query: Float[Tensor, "rows heads queries features"],
    key: Float[Tensor, "rows heads tokens features"],
    value: Float[Tensor, "rows heads tokens features"],
    mask: Bool[Tensor, "#rows 1 #queries tokens"] | None = None,
) -> Float[Tensor, "rows heads queries features"]:
    """Scaled dot-product attention.

    Args:
        query: [rows, heads, queries, features].
        key: [rows, heads, tokens, features].
        value: [rows, heads, tokens, features].
        mask: [rows or 1, 1, queries or 1, tokens], True where a token may be attended to. None: everywhere.

    Returns:
        [rows, heads, queries, features].
    """
    slow = value.device.type == "cpu" and value.dtype == torch.bfloat16 and key.shape[2] <= LONGEST
    if not slow and not _has_tangent(query):
        return F.scaled_dot_product_attention(query, key, value, mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1, value.dtype) @ value


def _has_tangent(x: Tensor) -> bool:
    """Whether x is being differentiated in forward mode."""
    return not torch.compiler.is_compiling() and unpack_dual(x).tangent is not None


@dataclass(frozen=True)
class AttendedSequence:
    """A sequence to attend to; made by `AttendedSequence.of`.

    Args:
        values: The tokens.
        mask: True where a token may be attended to, or None where all may. It is True throughout for an empty row,
            which keeps the softmax finite; the result of that row is then replaced.
        silent: True where a row has no token.
    """

    values: Float[Tensor, "rows length width"]
    mask: Bool[Tensor, "rows 1 1 length"] | None = None
    silent: Bool[Tensor, "rows 1 1"] | None = None

    @classmethod
    def of(
        cls, values: Float[Tensor, "rows length width"], real: Bool[Tensor, "rows length"] | None = None
    ) -> AttendedSequence:
        """Tokens of which only the real ones are attended to.

        Args:
            values: [rows, length, width].
            real: [rows, length], True where a token is real. None: all are.

        Returns:
            The tokens with their mask.
        """
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
        mask: Bool[Tensor, "#rows 1 #queries tokens"] | None = None,
    ) -> Float[Tensor, "rows queries width"]:
        query, key = self.query_norm(self._split(query)), self.key_norm(self._split(key))
        return read(query, key, self._split(value), mask).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Self-attention.

    Args:
        width: Features of a token.
        heads: Attention heads; they must divide the width.
        qk_norm: Whether queries and keys are normalised.

    Raises:
        UsageError: If heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.read = _Heads(width, heads, qk_norm)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "rows tokens width"],
        mask: Bool[Tensor, "tokens tokens"] | Bool[Tensor, "rows 1 1 tokens"] | None = None,
    ) -> Float[Tensor, "rows tokens width"]:
        """Attention of the tokens to one another.

        Args:
            x: [rows, tokens, width].
            mask: [tokens, tokens], True where the first may attend to the second; or [rows, 1, 1, tokens], True where a
                token may be attended to. None: everywhere.

        Returns:
            [rows, tokens, width].
        """
        query, key, value = self.project(x).chunk(3, dim=-1)
        return self.out(self.read(query, key, value, mask[None, None] if mask is not None and mask.ndim == 2 else mask))

    def after(
        self,
        x: Float[Tensor, "rows tokens width"],
        past: Float[Tensor, "rows 2 heads past features"] | None,
        mask: Bool[Tensor, "tokens tokens"] | Bool[Tensor, "rows 1 tokens keys"] | None,
    ) -> tuple[Float[Tensor, "rows tokens width"], Float[Tensor, "rows 2 heads tokens features"]]:
        """Attention of the tokens to tokens that were read before and to one another.

        Args:
            x: [rows, tokens, width].
            past: [rows, 2, heads, past, features], keys and values of tokens that were read before. None: none were.
            mask: [rows, 1, tokens, past + tokens], True where a token may attend to one of the past or of x; [tokens,
                tokens] where there is no past. None: everywhere.

        Returns:
            The result, [rows, tokens, width], and the keys and values of x.
        """
        query, key, value = (self.read._split(each) for each in self.project(x).chunk(3, dim=-1))
        kv = torch.stack([self.read.key_norm(key), value], 1)
        keys, values = (kv if past is None else torch.cat([past.to(kv), kv], 3)).unbind(1)
        mask = mask[None, None] if mask is not None and mask.ndim == 2 else mask
        answer = read(self.read.query_norm(query), keys, values, mask)
        return self.out(answer.transpose(1, 2).flatten(2)), kv


class CrossAttention(nn.Module):
    """Cross-attention to a sequence, with a learned null where there is none. Its output starts at 0.

    The null stands for the result and not for a token, so that it is the same bit for bit whether there is no sequence,
    it was dropped, or it has no real tokens.

    Args:
        width: Features of a query.
        source: Features of a token.
        heads: Attention heads; they must divide the width.
        qk_norm: Whether queries and keys are normalised.

    Raises:
        UsageError: If heads do not divide the width.
    """

    def __init__(self, width: int, source: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.read = _Heads(width, heads, qk_norm)
        self.query = nn.Linear(width, width)
        self.project = nn.Linear(source, 2 * width)
        self.out = zeroed(nn.Linear(width, width))
        self.null = nn.Parameter(torch.zeros(width))

    def forward(
        self, x: Float[Tensor, "rows queries width"], tokens: AttendedSequence | None
    ) -> Float[Tensor, "rows queries width"]:
        """What the queries attend to.

        Args:
            x: [rows, queries, width].
            tokens: The sequence; None where no row has one.

        Returns:
            [rows, queries, width].
        """
        if tokens is None:
            return self.null.expand_as(x)
        key, value = self.project(tokens.values).chunk(2, dim=-1)
        answer = self.out(self.read(self.query(x), key, value, tokens.mask))
        return answer if tokens.silent is None else torch.where(tokens.silent, self.null, answer)
