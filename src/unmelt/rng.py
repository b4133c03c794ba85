"""Randomness, always explicit.

Training draws from one `Stream`, or from a `Part` of it where a batch is divided. Sampling draws from `Rows`: every row
has its own seed and counts its own draws, so that a row comes out the same whatever shares its batch, wherever it is
paused, split or joined.
`Rows` draws on the CPU and moves, so that a seed means the same sample on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

_MASK = (1 << 64) - 1


def fold(seed: int, number: int) -> int:
    """A new seed from a seed and a number: splitmix64 (Steele, Lea and Flood, 2014), kept to 63 bits."""
    z = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xD1342543DE82EF95) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """For what only knows the global generator (first weights, dropout): seed it inside, restore it after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed & _MASK)
        yield


@runtime_checkable
class Random(Protocol):
    """Anything that draws arrays whose first dimension is rows."""

    def normal(self, shape: Sequence[int], dtype: torch.dtype = ..., device: torch.device | str = ...) -> Tensor:
        """Independent N(0, 1) numbers of this shape."""

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = ..., device: torch.device | str = ...) -> Tensor:
        """Independent numbers from [0, 1) of this shape."""

    def place(self, rows: int) -> tuple[int, int]:
        """(the number of the first of these rows, how many there are) in the batch that they are part of."""


class Stream:
    """One generator for whole batches: what training draws from. It lives on the device it is to serve."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        own = self.generator.device
        return torch.randn(tuple(shape), generator=self.generator, dtype=dtype, device=own).to(device)

    def uniform(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        own = self.generator.device
        return torch.rand(tuple(shape), generator=self.generator, dtype=dtype, device=own).to(device)

    def place(self, rows: int) -> tuple[int, int]:
        return 0, rows


@dataclass(frozen=True)
class Part:
    """Part number `part` of `parts` equal ones of what a stream draws for a whole batch.

    However a batch is divided, its rows draw the same numbers: all are drawn, and some are kept.
    """

    of: Stream
    part: int
    parts: int

    def _kept(self, draw: Callable[..., Tensor], shape: Sequence[int], *where: object) -> Tensor:
        rows, *rest = shape
        return draw((self.parts * rows, *rest), *where)[self.part * rows : (self.part + 1) * rows]

    def normal(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        return self._kept(self.of.normal, shape, dtype, device)

    def uniform(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        return self._kept(self.of.uniform, shape, dtype, device)

    def place(self, rows: int) -> tuple[int, int]:
        return self.part * rows, self.parts * rows


@dataclass(frozen=True)
class Rows:
    """One seed a row and the number of draws it has made: a value, never changed in place."""

    seeds: Int64[Tensor, " rows"]
    draws: Int64[Tensor, " rows"]

    @classmethod
    def of(cls, seed: int | Sequence[int], rows: int) -> Rows:
        """Row i from one seed (the first rows of a larger batch are the smaller batch), or a seed for each."""
        seeds = [fold(seed, row) for row in range(rows)] if isinstance(seed, int) else list(seed)
        if len(seeds) != rows:
            raise ValueError(f"{len(seeds)} seeds for {rows} rows; give one seed, or one for each row")
        return cls(torch.tensor(seeds, dtype=torch.int64), torch.zeros(rows, dtype=torch.int64))

    def _draw(self, fill: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> Tensor:
        out = torch.empty(tuple(shape), dtype=dtype)
        generator = torch.Generator()
        for row, seed, draw in zip(out, self.seeds.tolist(), self.draws.tolist(), strict=True):
            getattr(row, fill)(generator=generator.manual_seed(fold(seed, draw)))
        return out.to(device)

    def normal(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        return self._draw("normal_", shape, dtype, device)

    def uniform(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        return self._draw("uniform_", shape, dtype, device)

    def place(self, rows: int) -> tuple[int, int]:
        return 0, rows

    def advance(self) -> Rows:
        """The same rows, one draw on."""
        return Rows(self.seeds, self.draws + 1)

    def __getitem__(self, rows: slice | Tensor) -> Rows:
        rows = rows.cpu() if isinstance(rows, Tensor) else rows  # seeds stay on the CPU, whatever is chosen by
        return Rows(self.seeds[rows], self.draws[rows])

    @staticmethod
    def join(parts: Sequence[Rows]) -> Rows:
        return Rows(torch.cat([p.seeds for p in parts]), torch.cat([p.draws for p in parts]))
