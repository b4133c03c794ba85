"""Blocks in which the tokens of a sequence attend to one another, before places of x attend to them.

An encoder may read each word by itself. In these blocks the words are read in view of one another. Each block begins as
the identity.

    h <- h + attention(norm(h)),      h <- h + mlp(norm(h))
"""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from unmelt.backbone.attention import SelfAttention
from unmelt.backbone.modulation import zeroed

RATIO = 4
"""Features of the hidden layer for each of a token."""


class SequenceBlock(nn.Module):
    """One block.

    Args:
        width: Features of a token.
        heads: Attention heads; they must divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, RATIO * width), nn.GELU(), zeroed(nn.Linear(RATIO * width, width)))
        zeroed(self.attention.out)

    def forward(
        self, h: Float[Tensor, "rows length width"], mask: Bool[Tensor, "rows 1 1 length"] | None = None
    ) -> Float[Tensor, "rows length width"]:
        """The tokens, having read one another.

        Args:
            h: [rows, length, width], tokens.
            mask: [rows, 1, 1, length], True where a token may be attended to. None: everywhere.

        Returns:
            [rows, length, width].
        """
        h = h + self.attention(self.first_norm(h), mask=mask)
        return h + self.mlp(self.second_norm(h))
