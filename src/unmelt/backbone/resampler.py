"""A sequence of any length read by a fixed number of learned queries (Perceiver resampler, Q-Former).

    q <- q + attention(norm(q); norm([tokens; q])),      q <- q + mlp(norm(q))

(Alayrac et al., 2022, "Flamingo", section 2.1; Li et al., 2023, "BLIP-2", section 3.1.) The frozen states of a language
model are many, and most say little of a picture. What x attends to is then as many places as there are queries, which
learn what to ask for. The order of the tokens counts only as far as their encoder wrote it into them.
"""

from dataclasses import replace
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unmelt.backbone.argument_checks import at_least
from unmelt.backbone.attention import AttendedSequence, read
from unmelt.backbone.sequence_blocks import RATIO


@final
class ResamplerBlock(nn.Module):
    """One block: the queries attend to the tokens and to one another, and a perceptron.

    Args:
        width: Features of a query, and of a token.
        heads: Attention heads; they must divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.token_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.project, self.out = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )
        self.mlp = nn.Sequential(nn.Linear(width, RATIO * width), nn.GELU("tanh"), nn.Linear(RATIO * width, width))

    def forward(
        self,
        q: Float[Tensor, "rows queries width"],
        tokens: Float[Tensor, "rows length width"],
        mask: Bool[Tensor, "rows 1 1 seen"] | None = None,
    ) -> Float[Tensor, "rows queries width"]:
        """The queries, having read.

        Args:
            q: [rows, queries, width].
            tokens: [rows, length, width].
            mask: [rows, 1, 1, length + queries], True where a token or a query may be attended to. None: everywhere.

        Returns:
            [rows, queries, width].
        """
        asked = self.query_norm(q)
        key, value = self.project(torch.cat([self.token_norm(tokens), asked], 1)).chunk(2, dim=-1)
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.query(asked), key, value))
        q = q + self.out(read(query, key, value, mask).transpose(1, 2).flatten(2))
        return q + self.mlp(self.mlp_norm(q))


@final
class Resampler(nn.Module):
    """Learned queries that read a sequence, and stand in its place.

    Args:
        width: Features of a token.
        queries: Number of queries.
        heads: Attention heads; they must divide the width.
        depth: Number of blocks.

    Raises:
        UsageError: If a number is below 1.
    """

    def __init__(self, width: int, queries: int, heads: int, depth: int = 2) -> None:
        super().__init__()
        at_least(1, "Resampler", width=width, queries=queries, heads=heads, depth=depth)
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.blocks = nn.ModuleList(ResamplerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: AttendedSequence) -> AttendedSequence:
        """What the queries read.

        Args:
            tokens: The sequence.

        Returns:
            A place for each query, all of which may be attended to; a row without tokens is silent as before.
        """
        q = self.queries.expand(len(tokens.values), -1, -1)
        mask = None if tokens.mask is None else F.pad(tokens.mask, (0, q.shape[1]), value=True)
        for block in self.blocks:
            q = block(q, tokens.values, mask)
        return replace(tokens, values=self.norm(q), mask=None)
