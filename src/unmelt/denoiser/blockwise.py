"""Block diffusion: autoregression over blocks, masked diffusion within them (Arriola et al., 2025).

    log p(x0) = sum over blocks b of  log p(x0_b | x0_1, ..., x0_(b - 1)),      each by masked diffusion

Blocks of 1 are autoregression, and one block as long as the row is full diffusion. A block's tokens do not change once
it is finished, so its keys and values can be cached, and the cache is exact. In training every block attends to clean
earlier blocks, which takes one call on the clean row followed by its noisy copies.

The same network can be trained with full bidirectional attention as well: `as_bidirectional` is that denoiser, with
which gaps are filled.
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.kv_cache import KVCache
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.denoiser.cached import read_block
from unmelt.errors import UsageError
from unmelt.posterior import Categorical
from unmelt.process import Mask


@final
@checked_init("um.denoiser.Blockwise")
class Blockwise(CallRepr, nn.Module):
    """Block diffusion: a block-causal backbone on masks. A `CachedDenoiser`.

    Its belief is right in the first block that is not finished.

    Args:
        backbone: A block-causal network, with `block` tokens per block.
        process: The masks.
        shape: Shape of one row: its length.
        also_bidirectional: Whether the network was also trained with full bidirectional attention.

    Raises:
        UsageError: If the backbone has no block.
    """

    exact = True

    def __init__(
        self, backbone: nn.Module, process: Mask, shape: Sequence[int], also_bidirectional: bool = False
    ) -> None:
        super().__init__()
        if getattr(backbone, "block", None) is None:
            raise UsageError("a backbone without a block", "a block-causal one", "Transformer(..., block=16)")
        self.backbone, self.process, self.shape, self.also_bidirectional = (
            backbone,
            process,
            tuple(shape),
            also_bidirectional,
        )

    @property
    def block(self) -> int:
        """Tokens per block, which are the backbone's."""
        return self.backbone.block  # type: ignore[return-value]

    @property
    def as_bidirectional(self) -> "Bidirectional":
        """The same network with full bidirectional attention."""
        return Bidirectional(self)

    def forward(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        """The belief at every position, given its own block and earlier ones.

        Args:
            x_t: Rows of tokens and masks.
            t: Time of each row.
            condition: What is known of each row.

        Returns:
            The belief, with logits [rows, length, vocabulary].
        """
        return Categorical(self.backbone(x_t, t.float(), condition).float())

    def teacher_forced(
        self,
        x_t: Int64[Tensor, "rows copies_length"],
        x0: Int64[Tensor, "rows length"],
        where: Bool[Tensor, "rows copies_length"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Categorical:
        """The belief in all blocks at once, each given its own noisy tokens and the clean tokens of earlier blocks.

        Args:
            x_t: Noisy copies of the row, one or several, one after the other.
            x0: The clean row.
            where: True at the positions of x_t whose belief is computed; the others cost no logits.
            t: Time of each row.
            condition: What is known of each row.

        Returns:
            The belief, with logits [places, vocabulary], row by row.
        """
        return Categorical(self.backbone(x0, t.float(), condition, noisy=x_t, where=where).float())

    def init_cache(self, rows: int, length: int, device: torch.device | str = "cpu") -> KVCache:
        return self.backbone.init_cache(rows, length, device)  # type: ignore[operator]

    @torch.no_grad()
    def decode_step(
        self,
        x_t: Int64[Tensor, "rows length"],
        block_start: Int64[Tensor, " rows"],
        cache: KVCache,
        condition: Condition | None = None,
    ) -> tuple[Categorical, KVCache]:
        return read_block(self.backbone, x_t, block_start, cache, condition, self.block)


@final
class Bidirectional:
    """A `Blockwise` denoiser's network with full bidirectional attention: the belief at a position, given all others.

    Args:
        denoiser: The denoiser whose network it is.
    """

    def __init__(self, denoiser: Blockwise) -> None:
        self.denoiser = denoiser
        self.backbone, self.process, self.shape = denoiser.backbone, denoiser.process, denoiser.shape

    def __call__(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        return Categorical(self.backbone(x_t, t.float(), condition, bidirectional=True).float())

    def logits_at(
        self,
        x_t: Int64[Tensor, "rows length"],
        where: Bool[Tensor, "rows length"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Categorical:
        """The belief at some positions alone.

        Args:
            x_t: Rows of tokens and masks.
            where: True at the positions whose belief is computed; the others cost no logits.
            t: Time of each row.
            condition: What is known of each row.

        Returns:
            The belief, with logits [places, vocabulary], row by row.
        """
        return Categorical(self.backbone(x_t, t.float(), condition, bidirectional=True, where=where).float())
