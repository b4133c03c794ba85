"""Keys and values of positions that were read before, so that a network does not read them again.

    attention at position i = softmax(q_i k_j^T / sqrt(d)) v_j over the cached j and those read now

The slot of a position is its number in the row, so rows may have different numbers of cached positions.

A cache is a value, and yet a decoding step does not copy it. Slots from `kv_length` on are scratch: they are written
before they are read. Caches that share a buffer also share `kv_written`, how far the buffer is filled. A cache that is
filled as far as its buffer is appended to in place; a second branch from an earlier cache copies the buffer first
(`appendable`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class KVCache:
    """Keys and values of every layer, with a slot for every position of a row. All tensors have rows first.

    Args:
        kv: Keys and values, in the slots of their positions.
        kv_length: Number of positions, counted from the first, whose slots hold final keys and values.
        kv_written: The largest such number among the caches that share this buffer; shared with them.
        block_start: First position of the block that was decoded last; -1 before the first call.
    """

    kv: Float[Tensor, "rows layers 2 heads length features"]
    kv_length: Int64[Tensor, " rows"]
    kv_written: Int64[Tensor, " rows"]
    block_start: Int64[Tensor, " rows"]

    @classmethod
    def empty(
        cls,
        *,
        rows: int,
        layers: int,
        heads: int,
        length: int,
        features: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> KVCache:
        """A cache in which no position has been read.

        Args:
            rows: Number of rows.
            layers: Number of attention layers.
            heads: Attention heads per layer.
            length: Positions of a row, each of which gets a slot.
            features: Features per head.
            dtype: Type of the keys and values.
            device: Where the cache is allocated.

        Returns:
            The cache, filled with zeros.
        """
        counts = torch.zeros(rows, dtype=torch.int64, device=device)
        kv = torch.zeros(rows, layers, 2, heads, length, features, dtype=dtype, device=device)
        return cls(kv, counts, counts.clone(), counts - 1)

    @property
    def length(self) -> int:
        """Number of slots per row."""
        return self.kv.shape[4]

    def __getitem__(self, rows: Bool[Tensor, " rows"]) -> KVCache:
        """The cache of some of the rows, as a copy."""
        return KVCache(self.kv[rows], self.kv_length[rows], self.kv_written[rows], self.block_start[rows])

    def cloned(self) -> KVCache:
        """The same cache in a buffer of its own."""
        return replace(self, kv=self.kv.clone(), kv_written=self.kv_length.clone())

    def appendable(self, kv_length: Int64[Tensor, " rows"]) -> KVCache:
        """A cache of the same positions, to which positions can be added without a change to any other cache.

        Args:
            kv_length: Number of positions to retain, at most as many as there are.

        Returns:
            The cache, in the same buffer if no cache has added positions to it beyond these, else in a copy.
        """
        cache = replace(self, kv_length=kv_length)
        return cache if torch.equal(kv_length, self.kv_written) else cache.cloned()

    def appended(self, kv_length: Int64[Tensor, " rows"], block_start: Int64[Tensor, " rows"]) -> KVCache:
        """The cache after a call that has written more positions.

        Args:
            kv_length: Number of positions that are final now.
            block_start: First position of the block that was decoded.

        Returns:
            The cache, in the same buffer.
        """
        self.kv_written.copy_(kv_length)
        return replace(self, kv_length=kv_length, block_start=block_start)

    def write(
        self,
        layer: int,
        positions: Int64[Tensor, "rows n"],
        key: Float[Tensor, "rows heads n features"],
        value: Float[Tensor, "rows heads n features"],
    ) -> None:
        """Write keys and values of one layer into the slots of their positions, in place. Final slots stay as they are.

        Args:
            layer: Number of the layer.
            positions: Position of each key in its row.
            key: Keys of the positions that are being read.
            value: Values of the same positions.
        """
        slots = self.kv[:, layer]
        index = positions[:, None, None, :, None].expand(*slots.shape[:3], -1, slots.shape[4])
        new = torch.stack([key, value], 1).to(slots.dtype)
        final = positions < self.kv_length[:, None]
        if final.any():
            new = torch.where(final[:, None, None, :, None], slots.gather(3, index), new)
        slots.scatter_(3, index, new)
