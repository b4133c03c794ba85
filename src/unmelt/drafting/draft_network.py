"""A small network that drafts a block from a verifier's hidden states, all tokens in one pass (after DFlash, 2026).

    c_i = W [norm(h_i^l) for l in layers]                      a token whose hidden states the verifier has given
    z_0 ... z_k = e, m_1 ... m_k                               the last token's embedding; then masks
    z_i <- z_i + attention(z_i; c_(a - n) ... c_(a - 1), z_0 ... z_k),   z_i <- z_i + perceptron(z_i)      in each layer
    norm(z_1) ... norm(z_k)                                    the verifier's head makes logits of them

Context tokens c are the same in all layers: their keys and values alone are computed, once for a row, however many
blocks are drafted after its beginnings. A block costs k + 1 tokens of a transformer, whatever the context's length.
Embedding and head are the verifier's, and are none of the network's weights. Of the head, the rows of frequent tokens
may be all that is used (FR-Spec; Zhao et al., 2025): a rare token is then written by the verifier and never drafted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least
from unmelt.backbone.rotary import RotaryAttention, rotary_angles
from unmelt.call_repr import CallRepr
from unmelt.errors import UsageError


class _Layer(nn.Module):
    """Attention, then a gated perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = RotaryAttention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)

    def forward(self, z: Tensor, context: Tensor, places: _Places) -> Tensor:
        rows = len(z)
        own = self.attention.heads_of(self.norm1(z).flatten(0, 1), places.own.flatten(0, 1)[:, None])
        query, key, value = (each.unflatten(0, (rows, -1)) for each in own)
        _, context_key, context_value = self.attention.heads_of(self.norm1(context), places.context)
        found = _attention(query, key, value, context_key, context_value, places.seen)
        z = z + self.attention.out(found.transpose(2, 3).flatten(3))
        gate, up = self.up(self.norm2(z)).chunk(2, -1)
        return z + self.down(F.silu(gate) * up)


class _Places(NamedTuple):
    """Where context tokens and blocks stand, and what a block sees of the context.

    Args:
        context: [n, half], rotation angles of context tokens.
        own: [rows, blocks, tokens, half], those of the tokens of blocks.
        seen: [rows, blocks, n], True at the context tokens that a block attends to.
    """

    context: Tensor
    own: Tensor
    seen: Tensor


def _attention(
    query: Float[Tensor, "rows blocks heads k features"],
    key: Float[Tensor, "rows blocks heads k features"],
    value: Float[Tensor, "rows blocks heads k features"],
    context_key: Float[Tensor, "rows heads n features"],
    context_value: Float[Tensor, "rows heads n features"],
    seen: Bool[Tensor, "rows blocks n"],
) -> Float[Tensor, "rows blocks heads k features"]:
    """Attention of blocks to themselves and to their row's context, which is read once for all of them."""
    blocks, n = seen.shape[1:]
    query = query * query.shape[-1] ** -0.5
    before = query.transpose(1, 2).flatten(2, 3) @ context_key.mT
    before = before.unflatten(2, (blocks, -1)).transpose(1, 2).masked_fill(~seen[:, :, None, None], -torch.inf)
    weight = torch.cat([before, query @ key.mT], -1).softmax(-1)
    of_context = weight[..., :n].transpose(1, 2).flatten(2, 3) @ context_value
    return of_context.unflatten(2, (blocks, -1)).transpose(1, 2) + weight[..., n:] @ value


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
        words: How many tokens it can draft; 0 for all of the verifier's. `drafted` holds their numbers, at first the
            lowest ones.

    Raises:
        UsageError: If a number is out of range.
    """

    drafted: Tensor

    def __init__(
        self,
        *,
        width: int,
        layers: Sequence[int],
        block: int = 8,
        context: int = 32,
        depth: int = 1,
        heads: int = 4,
        words: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, "DraftNetwork", width=width, block=block, context=context, depth=depth, heads=heads)
        at_least(0, "DraftNetwork", words=words)
        if not layers or min(layers) < 0:
            raise UsageError(f"layers={tuple(layers)}", "one or several of 0, 1, 2, ...", "layers=(1, 15, 29)")
        self.width, self.layers, self.block, self.context = width, tuple(layers), block, context
        self.depth, self.heads, self.words = depth, heads, words
        if words:
            self.register_buffer("drafted", torch.arange(words))
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
        context: Float[Tensor, "rows n width"],
        ends: Int64[Tensor, "rows blocks"],
        last: Float[Tensor, "rows blocks m width"],
    ) -> Float[Tensor, "rows blocks block width"]:
        """Draft blocks after beginnings of each row.

        Args:
            context: Context tokens.
            ends: How many of them come before each block; the last ones of these are seen.
            last: Embeddings of the tokens of each text that come after them: of the last one, or of more.

        Returns:
            What the verifier's head makes logits of, for each token of each block.
        """
        z = torch.cat([last, self.mask.expand(*last.shape[:2], self.block, -1)], 2)
        at, features = torch.arange(context.shape[1], device=z.device), self.width // self.heads
        own = ends[..., None] + torch.arange(z.shape[2], device=z.device)
        places = _Places(
            context=rotary_angles(at[:, None], features),
            own=rotary_angles(own[..., None], features),
            seen=(at < ends[..., None]) & (at >= ends[..., None] - self.context),
        )
        for each in self.blocks:
            z = each(z, context, places)
        found: Tensor = self.norm(z[:, :, -self.block :])
        return found
