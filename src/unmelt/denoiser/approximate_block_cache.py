"""An approximate cache for bidirectional networks: outside of the block that is decoded, keys and values grow stale.

    entering a block    one call reads the whole row and fills every slot
    within the block    calls read the block alone, and attend to the other slots as they were filled

(Wu et al., 2025.) Keys and values of the other positions would have changed with every token that is written in the
block. The belief is therefore not the network's own; this trades exactness for speed. `Blockwise` is exact.
"""

from dataclasses import replace
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.backbone.kv_cache import KVCache
from unmelt.condition import Condition
from unmelt.denoiser.cached import as_rows, block_positions, logits_of_window
from unmelt.denoiser.token_network import TokenDenoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.posterior import Categorical


@final
@checked_init("um.denoiser.ApproximateBlockCache")
class ApproximateBlockCache(DenoiserWrapper):
    """A bidirectional denoiser as a `CachedDenoiser`, which reads the whole row once per block.

    Rows that enter a block and rows that are within one read different numbers of positions: `decode_step` takes two
    network calls where there are both kinds, and one otherwise.

    Args:
        denoiser: The denoiser to decode with; its backbone must have full bidirectional attention.
        block: Tokens per block.

    Raises:
        UsageError: If the block is below 1 or the backbone is not bidirectional.
    """

    exact = False

    def __init__(self, denoiser: TokenDenoiser, block: int = 32) -> None:
        if isinstance(block, bool) or block < 1 or getattr(denoiser.backbone, "block", 1) is not None:
            raise UsageError(
                f"ApproximateBlockCache with block={block!r} around a {type(denoiser).__name__}",
                "a block of at least 1, and a transformer with full bidirectional attention",
                "ApproximateBlockCache(TokenDenoiser(Transformer(..., block=None), ...), block=32)",
            )
        self.denoiser: TokenDenoiser = denoiser
        self.block = block

    def __call__(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        return self.denoiser(x_t, t, condition)

    def init_cache(self, rows: int, length: int, device: torch.device | str = "cpu") -> KVCache:
        return self.denoiser.backbone.init_cache(rows, length, device)  # type: ignore[operator]

    @torch.no_grad()
    def decode_step(
        self,
        x_t: Int64[Tensor, "rows length"],
        block_start: Int64[Tensor, " rows"],
        cache: KVCache,
        condition: Condition | None = None,
    ) -> tuple[Categorical, KVCache]:
        every = torch.arange(cache.length, device=x_t.device).expand(len(x_t), -1)
        own = block_positions(block_start, self.block, cache.length)
        inside = own < cache.length
        stale = (cache.kv_length < cache.length) | (cache.block_start != block_start)
        if stale.any():  # a new block's slots are read by other caches; those within a block are written before
            cache = cache.cloned()
        cache = replace(cache, kv_length=torch.zeros_like(cache.kv_length))  # no slot is final
        entering = (every >= block_start[:, None]) & (every < block_start[:, None] + self.block)
        if stale.all():
            logits = as_rows(self._read(x_t, cache, condition, every, entering), inside)
        elif not stale.any():
            logits = as_rows(self._read(x_t, cache, condition, own, inside), inside)
        else:
            parts = []
            for rows, positions, where in ((stale, every, entering), (~stale, own, inside)):
                part, known = cache[rows], None if condition is None else condition[rows]
                found = self._read(x_t[rows], part, known, positions[rows], where[rows])
                cache.kv[rows] = part.kv
                parts.append(as_rows(found, inside[rows]))
            logits = parts[0].new_empty(len(x_t), *parts[0].shape[1:])
            logits[stale], logits[~stale] = parts
        return Categorical(logits), cache.appended(torch.full_like(cache.kv_length, cache.length), block_start)

    def _read(
        self,
        x_t: Int64[Tensor, "rows length"],
        cache: KVCache,
        condition: Condition | None,
        positions: Int64[Tensor, "rows n"],
        where: Bool[Tensor, "rows n"],
    ) -> Float[Tensor, "places vocabulary"]:
        """Logits at some positions of the window; positions after the end of a row are its last one, read again."""
        window = positions.clamp_max(x_t.shape[1] - 1)
        return logits_of_window(self.denoiser.backbone, x_t, cache, condition, window, where)
