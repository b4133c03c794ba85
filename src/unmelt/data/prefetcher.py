"""Batches made ready while the device is busy with the one before.

A batch is a pure function of its number, so whoever knows which comes next can ask for it early: what training sees is
the same with this or without.
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
    """A source whose batches are on their way to the device before they are asked for.

    after   the number of the batch that is asked for after this one
    """

    def __init__(self, source: Source, device: torch.device, after: Callable[[int], int]) -> None:
        self.source, self.device, self.after = source, device, after
        self._pool = ThreadPoolExecutor(1)
        self._coming: dict[tuple[int, int], Future[Batch]] = {}

    def batch(self, number: int, rows: int) -> Batch:
        """Batch `number`, where the device is."""
        coming, each = {}, number
        for _ in range(1 + DEPTH):
            coming[each, rows] = self._coming.get((each, rows)) or self._pool.submit(self._ready, each, rows)
            each = self.after(each)
        self._coming = coming
        x, condition = self._coming.pop((number, rows)).result()
        x = x.to(self.device, non_blocking=True)
        return x, None if condition is None else condition.to(self.device)

    def _ready(self, number: int, rows: int) -> Batch:
        """In memory that the device can read by itself, if it has any of its own."""
        x, condition = self.source.batch(number, rows)
        return (x.pin_memory() if self.device.type == "cuda" else x), condition
