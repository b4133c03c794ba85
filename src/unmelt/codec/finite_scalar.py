"""Finite scalar quantisation: a few numbers, each rounded to one of a few levels, are a token.

    bounded = h tanh(z + s) - o,      code = round(bounded),      o = 1/2 for even L, else 0

with h = (1 + e) (L - 1) / 2 and s = artanh(o / h), so that z = 0 is bounded to 0 and every one of the L levels is
reached. A token is the codes' number in mixed radix: of levels (8, 5, 5, 5) there are 1000. Rounding has no gradient;
the gradient of `bounded` is taken in its place (Mentzer et al., 2024, "Finite Scalar Quantization: VQ-VAE Made
Simple"). There is no codebook that could collapse.
"""

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.errors import UsageError

SLACK = 1e-3
"""e above."""


@final
class FiniteScalar(nn.Module):
    """Rounds vectors to a grid of levels, and counts the points of the grid.

    Args:
        levels: Number of levels of each dimension, 2 or more.

    Raises:
        UsageError: If there is no dimension, or one has fewer than 2 levels.
    """

    span: Tensor
    offset: Tensor
    shift: Tensor
    radix: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise UsageError(f"levels={tuple(levels)}", "2 or more levels in each dimension", "levels=(8, 5, 5, 5)")
        self.levels = tuple(levels)
        count = torch.tensor(self.levels, dtype=torch.float64)
        half, offset = (1 + SLACK) * (count - 1) / 2, (count % 2 == 0).double() / 2
        for name, values in (("span", half), ("offset", offset), ("shift", torch.atanh(offset / half))):
            self.register_buffer(name, values.float(), persistent=False)
        radix = [math.prod(self.levels[:i]) for i in range(len(self.levels))]
        self.register_buffer("radix", torch.tensor(radix), persistent=False)

    @property
    def vocabulary(self) -> int:
        """The number of tokens."""
        return math.prod(self.levels)

    def quantize(self, z: Float[Tensor, "rows dims *space"]) -> Float[Tensor, "rows dims *space"]:
        """Round to the nearest point of the grid, with the gradient of what is rounded.

        Args:
            z: [rows, dims, *space], any numbers.

        Returns:
            [rows, dims, *space], in [-1, 1].
        """
        half, offset, shift = (self._of(each, z) for each in (self.span, self.offset, self.shift))
        bounded = half * torch.tanh(z + shift) - offset
        code = bounded + (bounded.round() - bounded).detach()
        return code / self._of(self._unit, z)

    def tokens(self, code: Float[Tensor, "rows dims *space"]) -> Int64[Tensor, "rows *space"]:
        """The number of each point.

        Args:
            code: [rows, dims, *space], points that `quantize` gave.

        Returns:
            [rows, *space], in [0, vocabulary).
        """
        unit = self._of(self._unit, code)
        digits = (code * unit).round().long() + unit.long()
        return (digits * self._of(self.radix, code)).sum(1)

    def points(self, tokens: Int64[Tensor, "rows *space"]) -> Float[Tensor, "rows dims *space"]:
        """The inverse of `tokens`.

        Args:
            tokens: [rows, *space], in [0, vocabulary).

        Returns:
            [rows, dims, *space].
        """
        count = torch.tensor(self.levels, device=tokens.device)
        shape = (1, -1, *(1,) * (tokens.ndim - 1))
        digits = tokens[:, None] // self.radix.view(shape) % count.view(shape)
        unit = self._unit.view(shape)
        return (digits - unit) / unit

    @property
    def _unit(self) -> Float[Tensor, " dims"]:
        """L // 2: what the codes are divided by, and the digit of code 0."""
        return torch.tensor([float(level // 2) for level in self.levels], device=self.span.device)

    @staticmethod
    def _of(values: Tensor, like: Tensor) -> Tensor:
        return values.to(like.dtype if values.is_floating_point() else values.dtype).view(-1, *(1,) * (like.ndim - 2))
