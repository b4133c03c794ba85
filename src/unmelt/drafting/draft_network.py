"""A small network that drafts a block from a verifier's hidden states, all tokens in one pass (after DFlash, 2026).

    c_i = W [norm(h_i^l) for l in layers]                      a token whose hidden states the verifier has given
    e, m_1 ... m_k                                             the last token's embedding; then masks
    z_1 ... z_k = norm(transformer(c, e, m))                   the verifier's head makes logits of them

A context token attends to context tokens up to itself, the last token and the masks to all of them and to each other.
Embedding and head are the verifier's, and are none of the network's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least
from unmelt.backbone.rotary import RotaryAttention, attention, rotary_angles
from unmelt.call_repr import CallRepr
from unmelt.errors import UsageError


class _Layer(nn.Module):
    """Attention, then a gated perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = RotaryAttention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)

    def forward(self, h: Tensor, angle: Tensor, mask: Tensor) -> Tensor:
        h = h + self.attention(self.norm1(h), angle, partial(attention, mask=mask))
        gate, value = self.up(self.norm2(h)).chunk(2, -1)
        return h + self.down(F.silu(gate) * value)


@final
@checked_init("um.drafting.DraftNetwork")
class DraftNetwork(CallRepr, nn.Module):
    """The network of a `HiddenDrafter`.

    Args:
        width: Features of the verifier's hidden states, which are the network's own too.
        layers: The verifier's layers whose hidden states are read, 0 for the embeddings.
        block: Tokens of the longest draft.
        context: Tokens that are read, the last ones.
        depth: Transformer layers.
        heads: Attention heads; twice their number must divide the width.

    Raises:
        UsageError: If a number is out of range.
    """

    def __init__(
        self,
        *,
        width: int,
        layers: Sequence[int],
        block: int = 8,
        context: int = 32,
        depth: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__()
        at_least(1, "DraftNetwork", width=width, block=block, context=context, depth=depth, heads=heads)
        if not layers or min(layers) < 0:
            raise UsageError(f"layers={tuple(layers)}", "one or several of 0, 1, 2, ...", "layers=(1, 15, 29)")
        self.width, self.layers, self.block, self.context = width, tuple(layers), block, context
        self.depth, self.heads = depth, heads
        self.into = nn.Linear(len(self.layers) * width, width, bias=False)
        self.mask = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(_Layer(width, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(width)

    def read(self, hidden: Float[Tensor, "rows n features"]) -> Float[Tensor, "rows n width"]:
        """Context tokens of hidden states.

        Args:
            hidden: The verifier's hidden states, its layers side by side.

        Returns:
            The tokens, one for each place.
        """
        each = F.rms_norm(hidden.unflatten(-1, (-1, self.width)), (self.width,))
        found: Tensor = self.into(each.flatten(2))
        return found

    def forward(
        self,
        context: Float[Tensor, "rows context width"],
        is_text: Bool[Tensor, "rows context"],
        last: Float[Tensor, "rows n width"],
    ) -> Float[Tensor, "rows block width"]:
        """Draft a block.

        Args:
            context: Context tokens, the latest one last.
            is_text: True at those that there are.
            last: Embeddings of the tokens of each text that come after the context: of the last one, or of more.

        Returns:
            What the verifier's head makes logits of, for each token of the block.
        """
        h = torch.cat([context, last, self.mask.expand(len(context), self.block, -1)], 1)
        angle = rotary_angles(torch.arange(h.shape[1], device=h.device)[:, None], self.width // self.heads)
        mask = self._mask(is_text, h.shape[1])
        for each in self.blocks:
            h = each(h, angle, mask)
        found: Tensor = self.norm(h[:, -self.block :])
        return found

    @staticmethod
    def _mask(is_text: Bool[Tensor, "rows context"], n: int) -> Bool[Tensor, "rows 1 n n"]:
        """True where one of n places attends to another; always to itself."""
        every = torch.arange(n, device=is_text.device)
        ahead = (every > every[:, None]) & (every[:, None] < is_text.shape[1])
        real = F.pad(is_text, (0, n - is_text.shape[1]), value=True)
        return ((real[:, None] & ~ahead) | (every == every[:, None]))[:, None]
