"""Blocks of masks, one after the other: autoregression over blocks, diffusion within (Arriola et al., 2025).

    log p(x0) = sum over blocks b of  log p(x0_b | x0_1, ..., x0_(b - 1)),      each by masked diffusion

Blocks of 1 are autoregression, and one block of all is full diffusion. What is written stays as it is, so keys and
values of blocks that are over can be kept: the cache is exact. In training every block sees those before it clean,
which takes one pass over the clean row with the melted one after it.
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.backbone.rotary import Past
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.posterior import Categorical
from unmelt.process import Mask


@final
class Blockwise(nn.Module):
    """A backbone with a block, on masks; its belief is right in the first block that is not written."""

    exact = True
    """Whether going on is the same as reading all anew."""

    def __init__(self, backbone: nn.Module, process: Mask, shape: Sequence[int]) -> None:
        super().__init__()
        if getattr(backbone, "block", None) is None:
            raise UsageError("a backbone without a block", "a block-causal one", "Transformer(..., block=16)")
        self.backbone, self.process, self.shape = backbone, process, tuple(shape)

    @property
    def block(self) -> int:
        return self.backbone.block  # type: ignore[return-value]

    def forward(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        return Categorical(self.backbone(x_t, t.float(), condition).float())

    def informed(
        self,
        x_t: Int64[Tensor, "rows length"],
        x0: Int64[Tensor, "rows length"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Categorical:
        """Belief in every block, given it melted and all before it clean."""
        length = x0.shape[1]
        at = torch.arange(length, device=x0.device)
        block = at // self.block
        earlier, own = block[None] < block[:, None], block[None] == block[:, None]
        clean = torch.cat([earlier | own, torch.zeros_like(own)], 1)
        melted = torch.cat([earlier, own], 1)
        logits = self.backbone(
            torch.cat([x0, x_t], 1), t.float(), condition, places=at.repeat(2), mask=torch.cat([clean, melted])
        )
        return Categorical(logits[:, length:].float())

    def goes_on(
        self, x_t: Int64[Tensor, "rows length"], first: int, kept: Tensor | None, condition: Condition | None
    ) -> tuple[Categorical, Tensor]:
        """Belief in the block that begins at `first`, all before being written, and what is kept of those before."""
        past = Past(kept)
        read = x_t[:, past.length : first + self.block]
        level = torch.zeros(len(x_t), device=x_t.device)
        logits = self.backbone(read, level, condition, past=past)
        return Categorical(logits[:, first - past.length :].float()), past.grown(first - past.length)
