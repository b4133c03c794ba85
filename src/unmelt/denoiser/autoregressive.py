"""A causal network as a denoiser of masks: it believes something of the first place that is not written yet.

    belief at place i = p(x0_i | x0_0, ..., x0_(i - 1))

which is right wherever all before i is written, and that is where a sampler that goes from left to right looks. Thus
the autoregressive model has the same facade, samplers and constraints as the diffusion it is compared with. The mask
stands for the beginning of a row.
"""

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.backbone.rotary import Past
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.posterior import Categorical
from unmelt.process import Mask


@final
class Autoregressive(CallRepr, nn.Module):
    """A backbone with block = 1, and masks to be written from left to right.

    middle   whether it was taught, by rows of prefix, suffix and middle, to write a middle last
    """

    exact = True
    """Whether going on is the same as reading all anew."""

    def __init__(self, backbone: nn.Module, process: Mask, shape: Sequence[int], fills_middle: bool = False) -> None:
        super().__init__()
        if getattr(backbone, "block", None) != 1:
            raise UsageError(
                f"a backbone with block={getattr(backbone, 'block', None)}", "a causal one", "Transformer(..., block=1)"
            )
        self.backbone, self.process, self.shape, self.block = backbone, process, tuple(shape), 1
        self.fills_middle = fills_middle

    def forward(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        before = F.pad(x_t[:, :-1], (1, 0), value=self.process.mask)
        return Categorical(self.backbone(before, t.float(), condition).float())

    def decode_step(
        self, x_t: Int64[Tensor, "rows length"], first: int, kept: Tensor | None, condition: Condition | None
    ) -> tuple[Categorical, Tensor]:
        """Belief at place `first`, all before being written, and what is kept of all that was read for it."""
        past = Past(kept)
        row = F.pad(x_t, (1, 0), value=self.process.mask)
        before = row[:, past.length - 1] if past.length else None
        level = torch.zeros(len(x_t), device=x_t.device)
        logits = self.backbone(row[:, past.length : first + 1], level, condition, past=past, edges=(before, None))
        return Categorical(logits[:, -1:].float()), past.grown()
