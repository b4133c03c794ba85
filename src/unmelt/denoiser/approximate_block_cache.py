"""An approximate cache: in a block that is being written, all places outside are read only once (Wu et al., 2025).

When a block begins, keys and values of every other place are kept; until it is written only its own places are read,
and they read from the others as these were. The others would have changed with every token: what is believed is not
what the network believes, and this trades truth for speed. It is for bidirectional networks; `Blockwise` is exact.
"""

from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.backbone.rotary import Past
from unmelt.condition import Condition
from unmelt.denoiser.token_network import TokenNetwork
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.posterior import Categorical


@final
class ApproximateBlockCache(DenoiserWrapper):
    """block   places that are written before the others are looked at again"""

    exact = False

    def __init__(self, denoiser: TokenNetwork, block: int = 32) -> None:
        if isinstance(block, bool) or block < 1 or getattr(denoiser.backbone, "block", 1) is not None:
            raise UsageError(
                f"ApproximateBlockCache with block={block!r} around a {type(denoiser).__name__}",
                "a block of at least 1, and a transformer in which all read from all",
                "ApproximateBlockCache(TokenNetwork(Transformer(..., block=None), ...), block=32)",
            )
        self.denoiser: TokenNetwork = denoiser
        self.block = block

    def __call__(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        return self.denoiser(x_t, t, condition)

    def decode_step(
        self, x_t: Int64[Tensor, "rows length"], first: int, kept: Tensor | None, condition: Condition | None
    ) -> tuple[Categorical, Tensor]:
        """Belief in the block that begins at `first`, and what is kept of all places outside it."""
        backbone, last = self.denoiser.backbone, min(first + self.block, x_t.shape[1])
        level = torch.zeros(len(x_t), device=x_t.device)
        past = Past(kept)
        if kept is None:
            logits = backbone(x_t, level, condition, past=past)[:, first:last]
            whole = past.grown()
            return Categorical(logits.float()), torch.cat([whole[..., :first, :], whole[..., last:, :]], 4)
        places = torch.arange(first, last, device=x_t.device)
        before = x_t[:, first - 1] if first else None
        after = x_t[:, last] if last < x_t.shape[1] else None
        piece = x_t[:, first:last]
        logits = backbone(piece, level, condition, past=past, places=places, edges=(before, after))
        return Categorical(logits.float()), kept
