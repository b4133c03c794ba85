"""Masked diffusion block by block, without a cache: a row is read up to the end of its first block with a mask.

    belief at the positions of block b = denoiser(x_1 ... x_end(b)),        blocks after b are not there yet

This is how block diffusion models are read that attend to a window of the row (LLaDA2: Bie et al., 2025). A sampler
with the same `block` writes one block after the other, and asks for no position that is not read.
"""

from dataclasses import replace
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.posterior import Categorical
from unmelt.process import Mask


@final
@checked_init("um.denoiser.BlockWindow")
class BlockWindow(DenoiserWrapper):
    """A denoiser on masks that reads each row up to the end of its first unfinished block.

    Args:
        denoiser: The denoiser, which takes rows of any length.
        block: Tokens per block.

    Raises:
        UsageError: If the block is below 1, or the denoiser is not one of masks.
    """

    def __init__(self, denoiser: Denoiser, block: int = 32) -> None:
        if isinstance(block, bool) or block < 1 or not isinstance(denoiser.process, Mask):
            raise UsageError(
                f"BlockWindow with block={block!r} around a denoiser of {type(denoiser.process).__name__}",
                "a block of at least 1, and masks",
                "BlockWindow(denoiser, block=32)",
            )
        self.denoiser, self.block = denoiser, block

    def __call__(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        masked, length = self.process.masked(x_t), x_t.shape[1]
        first = torch.where(masked.any(1), masked.int().argmax(1), length - 1)
        end = ((first // self.block + 1) * self.block).clamp_max(length)
        logits: Tensor | None = None
        for last in end.unique().tolist():
            rows = end == last
            known = None if condition is None else condition[rows]
            if known is not None and known.known_tokens is not None:
                known = replace(known, known_tokens=known.known_tokens[:, :last])
            found = self.denoiser(x_t[rows, :last], t[rows], known).logits
            if logits is None:
                logits = found.new_zeros(*x_t.shape, found.shape[-1])
            logits[rows, :last] = found
        assert logits is not None
        return Categorical(logits)
