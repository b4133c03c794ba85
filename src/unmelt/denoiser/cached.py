"""Decoding block by block with a cache: what has been read is not read again.

    step:  window of row r = the last n positions up to the end of its block,   n = max over rows of positions unread
           kv[r, window] <- keys and values;     belief at the block's positions, given all slots of its own and earlier
           blocks;     kv_length[r] <- block_start[r]

Rows may stand at different blocks. A row with fewer unread positions than another reads some of its cached ones again
and leaves their slots as they are. In an exact cache a position attends to its own block and to earlier ones only
(Arriola et al., 2025), so keys and values of finished blocks are final.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.backbone.kv_cache import KVCache
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.posterior import Categorical


@runtime_checkable
class CachedDenoiser(Denoiser, Protocol):
    """A denoiser on masks that decodes block by block and keeps what it has read in a cache.

    A sampler calls `init_cache` once and `decode_step` for every network call. Rows may stand at different blocks, and
    a cache can be split, joined and moved between batches row by row. `Autoregressive`, `Blockwise` and
    `ApproximateBlockCache` are cached denoisers, and so is `Temperature`, `TopP` or `AllowedTokens` around one.
    """

    @property
    def block(self) -> int:
        """Tokens per block. A block is finished before the next is begun; the last one of a row may be shorter."""
        ...

    @property
    def exact(self) -> bool:
        """Whether `decode_step` believes the same as a call without a cache."""
        ...

    def init_cache(self, rows: int, length: int, device: torch.device | str = "cpu") -> KVCache:
        """A cache in which nothing has been read.

        Args:
            rows: Number of rows.
            length: Positions of a row.
            device: Where the cache is allocated.

        Returns:
            The cache, allocated whole.
        """
        ...

    def decode_step(
        self,
        x_t: Int64[Tensor, "rows length"],
        block_start: Int64[Tensor, " rows"],
        cache: KVCache,
        condition: Condition | None = None,
    ) -> tuple[Categorical, KVCache]:
        """The belief in one block of each row. Runs without autograd.

        Args:
            x_t: The whole rows. All positions before the block hold tokens.
            block_start: First position of each row's block, a multiple of `block`.
            cache: What was read before.
            condition: What is known of each row.

        Returns:
            The belief at the positions block_start, block_start + 1, ..., as many as a block has or the row if it is
            shorter (the logits of positions after the end of a row are 0), and the cache after the call. The cache that
            was given stays valid: another branch may go on from it.
        """
        ...


def check_cached(denoiser: Any) -> CachedDenoiser:
    """The denoiser, if it has a cache.

    Args:
        denoiser: The denoiser to check.

    Returns:
        The same denoiser.

    Raises:
        UsageError: If it has no cache.
    """
    if not isinstance(denoiser, CachedDenoiser):
        raise UsageError(
            f"a cache for a {type(denoiser).__name__}",
            "a denoiser that decodes with a cache",
            "Autoregressive, Blockwise or ApproximateBlockCache; or Unmask(cache=False)",
        )
    return denoiser


def block_positions(block_start: Int64[Tensor, " rows"], block: int, length: int) -> Int64[Tensor, "rows n"]:
    """Positions that `decode_step` believes something of.

    Args:
        block_start: First position of each row's block.
        block: Tokens per block.
        length: Positions of a row.

    Returns:
        The positions of each row's block. Of a last block that is shorter, some are at or beyond `length`.
    """
    return block_start[:, None] + torch.arange(min(block, length), device=block_start.device)


def read_block(
    backbone: nn.Module,
    x: Int64[Tensor, "rows length"],
    block_start: Int64[Tensor, " rows"],
    cache: KVCache,
    condition: Condition | None,
    block: int,
    final: int = 0,
) -> tuple[Categorical, KVCache]:
    """One call of a block-causal network that reads every row's unread positions up to the end of its block.

    Args:
        backbone: The network, called as `backbone(x, level, condition, cache=, positions=, where=)`.
        x: What the network is given, the whole rows.
        block_start: First position of each row's block.
        cache: What was read before.
        condition: What is known of each row.
        block: Tokens per block.
        final: Positions of the block, counted from its first, whose keys and values are final after the call.

    Returns:
        The belief in each row's block, and the cache, in which positions before the block are final.
    """
    length = x.shape[1]
    end = (block_start + block).clamp_max(length)
    cache = cache.appendable(torch.minimum(cache.kv_length, block_start))
    n = int((end - cache.kv_length).max())
    positions = (end - n).clamp_min(0)[:, None] + torch.arange(n, device=x.device)
    where = (positions >= block_start[:, None]) & (positions < end[:, None])
    logits = logits_of_window(backbone, x, cache, condition, positions, where)
    inside = block_positions(block_start, block, length) < length
    return Categorical(as_rows(logits, inside)), cache.appended(block_start + final, block_start)


def logits_of_window(
    backbone: nn.Module,
    x: Int64[Tensor, "rows length"],
    cache: KVCache,
    condition: Condition | None,
    positions: Int64[Tensor, "rows n"],
    where: Bool[Tensor, "rows n"],
) -> Float[Tensor, "places vocabulary"]:
    """Logits of some positions of a window, which is read and written to the cache.

    Args:
        backbone: The network, called as `backbone(x, level, condition, cache=, positions=, where=)`.
        x: The whole rows.
        cache: What was read before; overwritten in place.
        condition: What is known of each row.
        positions: Positions of the window.
        where: True in those positions of the window whose logits are asked for.

    Returns:
        The logits, row by row.
    """
    level = torch.zeros(len(x), device=x.device)
    return backbone(x, level, condition, cache=cache, positions=positions, where=where).float()


def as_rows(
    logits: Float[Tensor, "places vocabulary"], inside: Bool[Tensor, "rows n"]
) -> Float[Tensor, "rows n vocabulary"]:
    """Logits that stand one after the other, put where `inside` is True.

    Args:
        logits: One for each place that is inside, row by row.
        inside: True where there are logits.

    Returns:
        The logits, 0 where there are none.
    """
    if len(logits) == inside.numel():
        return logits.view(*inside.shape, -1)
    rows = logits.new_zeros(*inside.shape, logits.shape[-1])
    rows[inside] = logits
    return rows
