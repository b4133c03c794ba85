"""Batches prepared while the device is busy with the one before.

A batch is a pure function of its number, so it can be prepared early: training sees the same batches with a prefetcher
and without.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from unmelt.condition import Condition
from unmelt.data.source import Source

Batch = tuple[Tensor, Condition | None]

DEPTH = 3
"""Batches under way at a time."""


class Prefetcher:
    """Prepares the next batches of a source in the background, in pinned memory if the device is a GPU.

    Args:
        source: The source of batches.
        device: Device that batches are moved to.
        next_batch: Maps a batch number to the number of the batch that is requested after it.
    """

    def __init__(self, source: Source, device: torch.device, next_batch: Callable[[int], int]) -> None:
        self.source, self.device, self.next_batch = source, device, next_batch
        self._pool = ThreadPoolExecutor(1)
        self._pending: dict[tuple[int, int], Future[Batch]] = {}

    def batch(self, number: int, rows: int) -> Batch:
        """Batch `number` on the device; starts preparing the ones after it.

        Args:
            number: Number of the batch.
            rows: Rows in the batch.

        Returns:
            (x, condition), both on the device; condition is None if the source has none.
        """
        pending, each = {}, number
        for _ in range(1 + DEPTH):
            pending[each, rows] = self._pending.get((each, rows)) or self._pool.submit(self._ready, each, rows)
            each = self.next_batch(each)
        self._pending = pending
        x, condition = self._pending.pop((number, rows)).result()
        x = x.to(self.device, non_blocking=True)
        return x, None if condition is None else condition.to(self.device)

    def _ready(self, number: int, rows: int) -> Batch:
        """The batch in pinned memory if the device is a GPU, so that the copy can be asynchronous."""
        x, condition = self.source.batch(number, rows)
        return (x.pin_memory() if self.device.type == "cuda" else x), condition
