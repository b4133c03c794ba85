"""Sudoku of 4 x 4 and 9 x 9: grids without end, and puzzles with a unique solution.

A grid is a row of its digits, counted from 0. The symmetries of sudoku make many grids from one: digits are renamed,
bands, stacks and the lines within them are permuted, the grid is transposed. The 288 grids of 4 x 4 are enumerated;
grids of 9 x 9 are permutations of base grids found by search, and held-out grids come from base grids of their own.
"""

import random
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.data.questions import GAP_MARKER, Questions
from unmelt.errors import UsageError
from unmelt.rng import fold

SEEDS = 256
"""Grids of 9 x 9 from which all others come."""


@lru_cache(maxsize=2)
def _peers(side: int) -> tuple[tuple[int, ...], ...]:
    """For each cell, the cells that may not hold the same digit."""
    box = round(side**0.5)
    if side not in (4, 9):
        raise UsageError(f"side={side}", "4 or 9", "side=4")
    cells = [(row, column, row // box * box + column // box) for row in range(side) for column in range(side)]
    return tuple(
        tuple(other for other, there in enumerate(cells) if other != cell and any(map(int.__eq__, here, there)))
        for cell, here in enumerate(cells)
    )


def solutions(grid: list[int], side: int, most: int, order: random.Random | None = None) -> list[list[int]]:
    """Complete a partial grid by search, the most constrained cell first.

    Args:
        grid: Digits of the cells, -1 for an empty cell.
        side: Side of the grid, 4 or 9.
        most: Stop after so many solutions.
        order: Random order in which digits are tried; None for ascending order.

    Returns:
        The solutions found, at most `most`.
    """
    grid, found, peers = list(grid), [], _peers(side)
    used = [0] * side * side
    for cell in range(side * side):
        for peer in peers[cell]:
            if grid[peer] >= 0:
                used[cell] |= 1 << grid[peer]

    def search() -> bool:
        empty = [cell for cell in range(side * side) if grid[cell] < 0]
        if not empty:
            found.append(list(grid))
            return len(found) >= most
        cell = max(empty, key=lambda one: used[one].bit_count())  # the one with fewest digits left
        digits = [digit for digit in range(side) if not used[cell] >> digit & 1]
        if order is not None:
            order.shuffle(digits)
        for digit in digits:
            grid[cell] = digit
            changed = [peer for peer in peers[cell] if not used[peer] >> digit & 1]
            for peer in changed:
                used[peer] |= 1 << digit
            if search():
                return True
            for peer in changed:
                used[peer] &= ~(1 << digit)
        grid[cell] = -1
        return False

    search()
    return found


def is_grid(digits: list[int], side: int) -> bool:
    """Whether a grid is full and no digit occurs twice in a row, a column or a box.

    Args:
        digits: Digits of the cells.
        side: Side of the grid, 4 or 9.

    Returns:
        True for a valid full grid.
    """
    if len(digits) != side * side or not all(0 <= digit < side for digit in digits):
        return False
    return all(digits[cell] != digits[peer] for cell, peers in enumerate(_peers(side)) for peer in peers)


@lru_cache(maxsize=2)
def _base_grids(side: int) -> Int64[Tensor, "n cells"]:
    """All grids of 4 x 4; for 9 x 9, the base grids that others are permutations of."""
    nothing = [-1] * side * side
    if side == 4:
        return torch.tensor(solutions(nothing, 4, 10**6))
    return torch.tensor([solutions(nothing, 9, 1, random.Random(seed))[0] for seed in range(SEEDS)])


def permuted_grids(
    grids: Int64[Tensor, "rows cells"], side: int, generator: np.random.Generator
) -> Int64[Tensor, "rows cells"]:
    """Apply a random symmetry to each grid: rename digits, permute bands, stacks and the lines within them, transpose.

    Args:
        grids: Valid grids.
        side: Side of the grids, 4 or 9.
        generator: Source of randomness.

    Returns:
        One valid grid for each.
    """
    rows, box = len(grids), round(side**0.5)
    square = grids.numpy().reshape(rows, side, side)

    def lines() -> np.ndarray:
        bands = generator.permuted(np.tile(np.arange(box), (rows, 1)), axis=1)
        within = generator.permuted(np.tile(np.arange(box), (rows, box, 1)), axis=2)
        return (bands[:, :, None] * box + within).reshape(rows, side)

    names = generator.permuted(np.tile(np.arange(side), (rows, 1)), axis=1)
    square = np.take_along_axis(square, lines()[:, :, None], 1)
    square = np.take_along_axis(square, lines()[:, None, :], 2)
    transposed = generator.random(rows) < 0.5
    square = np.where(transposed[:, None, None], square.transpose(0, 2, 1), square)
    return torch.from_numpy(np.take_along_axis(names, square.reshape(rows, -1), 1))


@final
class Sudoku:
    """An endless source of grids.

    Args:
        side: Side of the grid, 4 or 9.
        with_puzzle: False for the grid alone. True for a puzzle, "=" and its grid, for a left-to-right model: the
            puzzle is given as known tokens, an empty cell is token `side` (a dot), and "=" is token `side` + 1.
        held_out: False for the training grids; True for grids that are not among them.
        seed: Seed of the grids and of the puzzles' clues.

    Raises:
        UsageError: If the side is neither 4 nor 9.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, side: int, with_puzzle: bool = False, held_out: bool = False, seed: int = 0) -> None:
        _peers(side)
        self.side, self.with_puzzle, self.held_out, self.seed = side, with_puzzle, held_out, seed

    @property
    def shape(self) -> tuple[int, ...]:
        return (2 * self.side**2 + 1,) if self.with_puzzle else (self.side**2,)

    @property
    def coordinates(self) -> list[tuple[int, ...]]:
        """Row, column and box of each place's cell, for the network's position embedding.

        A left-to-right model reads a puzzle with its grid shifted by one place. While it reads the puzzle, a place's
        cell is the one that it reads; afterwards it is the one to be predicted. Its index in the sequence is a fourth
        coordinate.
        """
        box: int = round(self.side**0.5)
        lines = [divmod(cell, self.side) for cell in range(self.side**2)]
        cells: list[tuple[int, ...]] = [(line, column, line // box * box + column // box) for line, column in lines]
        return (
            [(*cell, number) for number, cell in enumerate([(0, 0, 0), *cells, *cells])] if self.with_puzzle else cells
        )

    def grids(self, step: int, rows: int) -> Int64[Tensor, "rows cells"]:
        """The grids of batch number `step`.

        Args:
            step: Number of the batch, from 0.
            rows: Number of grids.

        Returns:
            Valid full grids, digits counted from 0.
        """
        base = _base_grids(self.side)
        held_out = torch.tensor([fold(0, number) % 5 == 0 for number in range(len(base))])
        base = base[held_out == self.held_out]
        generator = np.random.default_rng(fold(fold(self.seed, step), int(self.held_out)))
        chosen = base[torch.from_numpy(generator.integers(len(base), size=rows))]
        return chosen if self.side == 4 else permuted_grids(chosen, self.side, generator)

    def batch(self, step: int, rows: int) -> tuple[Int64[Tensor, "rows tokens"], Condition | None]:
        grids = self.grids(step, rows)
        if not self.with_puzzle:
            return grids, None
        generator = np.random.default_rng(fold(fold(self.seed, step), 7))
        share = generator.uniform(0.2, 0.8, size=(rows, 1))
        puzzle = torch.where(torch.from_numpy(generator.random(grids.shape) < share), grids, self.side)
        asked = torch.cat([puzzle, torch.full((rows, 1), self.side + 1)], 1)
        known_tokens = torch.cat([asked, torch.full_like(grids, -1)], 1)
        return torch.cat([asked, grids], 1), Condition(known_tokens=known_tokens)

    def questions(self, count: int) -> Questions:
        """Puzzles with a unique solution.

        Clues are removed in random order for as long as the solution stays unique; 9 x 9 puzzles keep about 30 clues.

        Args:
            count: Number of puzzles.

        Returns:
            The puzzles with gaps, and the full grids.
        """
        asked, answers = [], []
        for number, grid in enumerate(self.grids(0, count).tolist()):
            clues, left = list(grid), self.side**2
            for cell in random.Random(number).sample(range(len(grid)), len(grid)):
                clues[cell], kept = -1, clues[cell]
                if len(solutions(clues, self.side, 2)) > 1 or (self.side == 9 and left <= 30):
                    clues[cell] = kept
                else:
                    left -= 1
            whole = "".join(str(digit + 1) for digit in grid)
            dotted = "".join("." if digit < 0 else str(digit + 1) for digit in clues)
            asked.append(f"{dotted}={GAP_MARKER * len(grid)}" if self.with_puzzle else dotted.replace(".", GAP_MARKER))
            answers.append(f"{dotted}={whole}" if self.with_puzzle else whole)
        return Questions(tuple(asked), tuple(answers))
