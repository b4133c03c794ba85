"""Randomness, always explicit.

Training draws from one `Stream`, or from a `Part` of it where a batch is divided. Sampling draws from `RowSeeds`: every
row has its own seed and counts its own draws. A row therefore comes out the same whatever rows share its batch, and
however often it is paused, split off or joined to another batch. `RowSeeds` draws on the CPU and moves the result, so
that a seed gives the same sample on every device.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.public_names import publish

__all__ = ["Part", "Random", "RowSeeds", "Seed", "Stream", "fold", "fresh_seed", "seed_of_rows", "seeded"]


_MASK = (1 << 64) - 1

GLOBAL_GENERATOR = threading.RLock()
"""Held by the thread that seeds torch's global generator, for as long as it draws from it."""

Seed: TypeAlias = int | Sequence[int] | None
"""One seed for all rows, or one for each; None draws a fresh one."""


def fold(seed: int, number: int) -> int:
    """Derive a new seed from a seed and a number, by splitmix64 (Steele, Lea and Flood, 2014).

    Args:
        seed: Any integer.
        number: The index of the derived seed, 0 or more.

    Returns:
        A seed of 63 bits.
    """
    z = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xD1342543DE82EF95) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) >> 1


def seed_of_rows(seed: Seed, rows: int) -> list[int]:
    """The seed of each row.

    Args:
        seed: One seed, from which row i gets `fold(seed, i)` (so that a smaller batch is the beginning of a larger
            one); or one for each row. None: a fresh one, which leaves torch's global generator alone.
        rows: The number of rows.

    Returns:
        A seed of 64 bits with its sign for each row; of larger integers, the lowest 64 bits count.

    Raises:
        UsageError: If the number of seeds is not the number of rows.
    """
    seed = fresh_seed() if seed is None else seed
    if isinstance(seed, int):
        return [fold(seed, row) for row in range(rows)]
    if len(seed) != rows:
        raise UsageError(f"{len(seed)} seeds for {rows} rows", "one seed, or one for each row", "seed=0")
    return [(one + (1 << 63) & _MASK) - (1 << 63) for one in seed]


def fresh_seed() -> int:
    """A seed that nobody has had, from the operating system.

    Returns:
        A seed of 63 bits.
    """
    return secrets.randbits(63)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator inside a `with` block and restore it afterwards.

    For code that takes no generator: weight initialisation and dropout. Other threads wait for the end of the block
    before they enter one of their own, since all share that generator.

    Args:
        seed: Any integer; its lowest 64 bits are used.
    """
    with GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed & _MASK)
        yield


@runtime_checkable
class Random(Protocol):
    """A source of random arrays whose first dimension is rows."""

    def normal(self, shape: Sequence[int], dtype: torch.dtype = ..., device: torch.device | str = ...) -> Tensor:
        """Draw independent N(0, 1) numbers.

        Args:
            shape: The shape of the result; its first dimension is rows.
            dtype: The floating-point type of the result, float32 by default.
            device: The device of the result, the CPU by default.

        Returns:
            A tensor of this shape.
        """

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = ..., device: torch.device | str = ...) -> Tensor:
        """Draw independent uniform numbers in [0, 1).

        Args:
            shape: The shape of the result; its first dimension is rows.
            dtype: The floating-point type of the result, float32 by default.
            device: The device of the result, the CPU by default.

        Returns:
            A tensor of this shape.
        """

    def batch_position(self, rows: int) -> tuple[int, int]:
        """Index of the first of these rows in the whole batch, and the number of rows of the whole batch.

        Args:
            rows: The number of rows here.

        Returns:
            (index of the first of these rows in the whole batch, number of rows of the whole batch).
        """


class Stream:
    """One generator for whole batches, as training uses it.

    Args:
        seed: The seed of the generator: any integer, of which the lowest 64 bits count.
        device: The device that the generator draws on; results can be moved to another.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device).manual_seed(seed & _MASK)

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

    def batch_position(self, rows: int) -> tuple[int, int]:
        return 0, rows


@dataclass(frozen=True)
class Part:
    """An equal part of what a stream draws for a whole batch.

    The numbers of the whole batch are drawn and those of this part are returned, so that a row draws the same numbers
    however the batch is divided.

    Args:
        of: The stream of the whole batch.
        part: The index of this part, from 0 to `parts` - 1.
        parts: The number of equal parts.
    """

    of: Stream
    part: int
    parts: int

    def _own_rows(self, draw: Callable[..., Tensor], shape: Sequence[int], *settings: object) -> Tensor:
        rows, *rest = shape
        return draw((self.parts * rows, *rest), *settings)[self.part * rows : (self.part + 1) * rows]

    def normal(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        return self._own_rows(self.of.normal, shape, dtype, device)

    def uniform(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        return self._own_rows(self.of.uniform, shape, dtype, device)

    def batch_position(self, rows: int) -> tuple[int, int]:
        return self.part * rows, self.parts * rows


@dataclass(frozen=True)
class RowSeeds:
    """A seed for each row and the number of draws it has made. A value: it is never changed in place.

    Args:
        seeds: [rows], the seed of each row, on the CPU.
        draws: [rows], the number of draws that each row has made, on the CPU.
    """

    seeds: Int64[Tensor, " rows"]
    draws: Int64[Tensor, " rows"]

    @classmethod
    def of(cls, seed: Seed, rows: int) -> RowSeeds:
        """Seed rows, none of which has drawn yet.

        Args:
            seed: One seed, or one for each row, or None; see `seed_of_rows`.
            rows: The number of rows.

        Returns:
            The seeded rows.

        Raises:
            UsageError: If the number of seeds is not the number of rows.
        """
        seeds = seed_of_rows(seed, rows)
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

    def batch_position(self, rows: int) -> tuple[int, int]:
        return 0, rows

    def advance(self) -> RowSeeds:
        """The same rows with their draw counts increased by one."""
        return RowSeeds(self.seeds, self.draws + 1)

    def __getitem__(self, rows: slice | Tensor) -> RowSeeds:
        rows = rows.cpu() if isinstance(rows, Tensor) else rows  # seeds are on the CPU, the index may not be
        return RowSeeds(self.seeds[rows], self.draws[rows])

    @staticmethod
    def join(parts: Sequence[RowSeeds]) -> RowSeeds:
        """Concatenate rows.

        Args:
            parts: The rows of each batch, in order.

        Returns:
            All rows as one batch.
        """
        return RowSeeds(torch.cat([p.seeds for p in parts]), torch.cat([p.draws for p in parts]))


publish(__name__)
