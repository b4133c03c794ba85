"""Blocks of masks, one after the other: autoregression over blocks, diffusion within (Arriola et al., 2025).

    log p(x0) = sum over blocks b of  log p(x0_b | x0_1, ..., x0_(b - 1)),      each by masked diffusion

Blocks of 1 are autoregression, and one block of all is full diffusion. What is written stays as it is, so keys and
values of blocks that are over can be kept: the cache is exact. In training every block sees those before it clean,
which takes one pass over the clean row with the melted one after it.

The same network can be taught to read from all sides as well: `free` is that denoiser, with which gaps are filled.
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.backbone.rotary import Past
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.posterior import Categorical
from unmelt.process import Mask


@final
class Blockwise(CallRepr, nn.Module):
    """A backbone with a block, on masks; its belief is right in the first block that is not written.

    both   whether it was also taught to read all from all
    """

    exact = True
    """Whether going on is the same as reading all anew."""

    def __init__(self, backbone: nn.Module, process: Mask, shape: Sequence[int], bidirectional: bool = False) -> None:
        super().__init__()
        if getattr(backbone, "block", None) is None:
            raise UsageError("a backbone without a block", "a block-causal one", "Transformer(..., block=16)")
        self.backbone, self.process, self.shape, self.bidirectional = backbone, process, tuple(shape), bidirectional

    @property
    def block(self) -> int:
        return self.backbone.block  # type: ignore[return-value]

    @property
    def as_bidirectional(self) -> "Bidirectional":
        """The same network, all reading from all."""
        return Bidirectional(self)

    def forward(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        return Categorical(self.backbone(x_t, t.float(), condition).float())

    def informed(
        self,
        x_t: Int64[Tensor, "rows melted"],
        x0: Int64[Tensor, "rows length"],
        where: Bool[Tensor, "rows melted"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Categorical:
        """Belief in some places, one after the other, each block given as it melted and all before it clean.

        x_t   the row melted, or several times over, one after the other
        """
        return Categorical(self.backbone(x0, t.float(), condition, beside=x_t, where=where).float())

    def decode_step(
        self, x_t: Int64[Tensor, "rows length"], first: int, kept: Tensor | None, condition: Condition | None
    ) -> tuple[Categorical, Tensor]:
        """Belief in the block that begins at `first`, all before being written, and what is kept of those before."""
        past = Past(kept)
        read = x_t[:, past.length : first + self.block]
        level = torch.zeros(len(x_t), device=x_t.device)
        before = x_t[:, past.length - 1] if past.length else None
        logits = self.backbone(read, level, condition, past=past, edges=(before, None))
        return Categorical(logits[:, first - past.length :].float()), past.grown(first - past.length)


@final
class Bidirectional:
    """A network of blocks that reads without them: belief in any place, in view of all others."""

    def __init__(self, denoiser: Blockwise) -> None:
        self.denoiser = denoiser
        self.backbone, self.process, self.shape = denoiser.backbone, denoiser.process, denoiser.shape

    def __call__(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        return Categorical(self.backbone(x_t, t.float(), condition, whole=True).float())

    def at(
        self,
        x_t: Int64[Tensor, "rows length"],
        where: Bool[Tensor, "rows length"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Categorical:
        """Belief in some places alone, one after the other."""
        return Categorical(self.backbone(x_t, t.float(), condition, whole=True, where=where).float())
