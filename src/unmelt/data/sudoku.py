"""Sudoku of 4 x 4 and of 9 x 9: every grid there is, or as many as one likes; and puzzles with one solution.

A grid is a row of its digits, counted from 0. From one grid come many: digits renamed, bands and stacks and the lines
within them put in another order, rows made columns. The 288 grids of 4 x 4 are listed; grids of 9 x 9 are such
relatives of grids found by search, and those that are held out are relatives of other ones.
"""

import random
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.data.questions import GAP, Questions
from unmelt.errors import UsageError
from unmelt.rng import fold

SEEDS = 256
"""Grids of 9 x 9 from which all others come."""


@lru_cache(maxsize=2)
def _peers(side: int) -> tuple[tuple[int, ...], ...]:
    """The cells that may not hold the same digit as each one."""
    box = round(side**0.5)
    if side not in (4, 9):
        raise UsageError(f"side={side}", "4 or 9", "side=4")
    cells = [(row, column, row // box * box + column // box) for row in range(side) for column in range(side)]
    return tuple(
        tuple(other for other, there in enumerate(cells) if other != cell and any(map(int.__eq__, here, there)))
        for cell, here in enumerate(cells)
    )


def solutions(grid: list[int], side: int, most: int, order: random.Random | None = None) -> list[list[int]]:
    """Ways to fill in what is -1, up to so many; in a random order if one is given."""
    grid, found, peers = list(grid), [], _peers(side)
    free = [0] * side * side
    for cell in range(side * side):
        for peer in peers[cell]:
            if grid[peer] >= 0:
                free[cell] |= 1 << grid[peer]

    def search() -> bool:
        empty = [cell for cell in range(side * side) if grid[cell] < 0]
        if not empty:
            found.append(list(grid))
            return len(found) >= most
        cell = max(empty, key=lambda one: free[one].bit_count())  # the one with fewest digits left
        digits = [digit for digit in range(side) if not free[cell] >> digit & 1]
        if order is not None:
            order.shuffle(digits)
        for digit in digits:
            grid[cell] = digit
            changed = [peer for peer in peers[cell] if not free[peer] >> digit & 1]
            for peer in changed:
                free[peer] |= 1 << digit
            if search():
                return True
            for peer in changed:
                free[peer] &= ~(1 << digit)
        grid[cell] = -1
        return False

    search()
    return found


def is_grid(digits: list[int], side: int) -> bool:
    """Whether it is full, and no digit stands twice in a row, a column or a box."""
    if len(digits) != side * side or not all(0 <= digit < side for digit in digits):
        return False
    return all(digits[cell] != digits[peer] for cell, peers in enumerate(_peers(side)) for peer in peers)


@lru_cache(maxsize=2)
def _first(side: int) -> Int64[Tensor, "n cells"]:
    """All grids of 4 x 4; of 9 x 9, those that others come from."""
    nothing = [-1] * side * side
    if side == 4:
        return torch.tensor(solutions(nothing, 4, 10**6))
    return torch.tensor([solutions(nothing, 9, 1, random.Random(seed))[0] for seed in range(SEEDS)])


def relatives(
    grids: Int64[Tensor, "rows cells"], side: int, generator: np.random.Generator
) -> Int64[Tensor, "rows cells"]:
    """Another grid for each: digits renamed, lines in another order within bands, bands in another order."""
    rows, box = len(grids), round(side**0.5)
    square = grids.numpy().reshape(rows, side, side)

    def lines() -> np.ndarray:
        bands = generator.permuted(np.tile(np.arange(box), (rows, 1)), axis=1)
        within = generator.permuted(np.tile(np.arange(box), (rows, box, 1)), axis=2)
        return (bands[:, :, None] * box + within).reshape(rows, side)

    names = generator.permuted(np.tile(np.arange(side), (rows, 1)), axis=1)
    square = np.take_along_axis(square, lines()[:, :, None], 1)
    square = np.take_along_axis(square, lines()[:, None, :], 2)
    turned = generator.random(rows) < 0.5
    square = np.where(turned[:, None, None], square.transpose(0, 2, 1), square)
    return torch.from_numpy(np.take_along_axis(names, square.reshape(rows, -1), 1))


@final
class Sudoku:
    """An endless source of grids.

    written   False: the grid alone. True: a puzzle, "=" and its grid, for a model that reads from left to right; the
              puzzle is known, with dots (token `side`) where a cell is empty, "=" being token `side` + 1
    held_out  grids that are not among the others
    """

    classes: tuple[str, ...] = ()

    def __init__(self, side: int, written: bool = False, held_out: bool = False, seed: int = 0) -> None:
        _peers(side)
        self.side, self.written, self.held_out, self.seed = side, written, held_out, seed

    @property
    def shape(self) -> tuple[int, ...]:
        return (2 * self.side**2 + 1,) if self.written else (self.side**2,)

    @property
    def coordinates(self) -> list[tuple[int, ...]]:
        """Line, column and box of each place's cell. A puzzle with its grid is read one place late, from left to right:
        while the puzzle is read, a place's cell is the one that it reads, and afterwards the one that comes next; its
        number in the row is told too."""
        box: int = round(self.side**0.5)
        lines = [divmod(cell, self.side) for cell in range(self.side**2)]
        cells: list[tuple[int, ...]] = [(line, column, line // box * box + column // box) for line, column in lines]
        return [(*cell, number) for number, cell in enumerate([(0, 0, 0), *cells, *cells])] if self.written else cells

    def grids(self, step: int, rows: int) -> Int64[Tensor, "rows cells"]:
        first = _first(self.side)
        aside = torch.tensor([fold(0, number) % 5 == 0 for number in range(len(first))])
        first = first[aside == self.held_out]
        generator = np.random.default_rng(fold(fold(self.seed, step), int(self.held_out)))
        chosen = first[torch.from_numpy(generator.integers(len(first), size=rows))]
        return chosen if self.side == 4 else relatives(chosen, self.side, generator)

    def batch(self, step: int, rows: int) -> tuple[Int64[Tensor, "rows tokens"], Condition | None]:
        grids = self.grids(step, rows)
        if not self.written:
            return grids, None
        generator = np.random.default_rng(fold(fold(self.seed, step), 7))
        share = generator.uniform(0.2, 0.8, size=(rows, 1))
        puzzle = torch.where(torch.from_numpy(generator.random(grids.shape) < share), grids, self.side)
        asked = torch.cat([puzzle, torch.full((rows, 1), self.side + 1)], 1)
        known = torch.cat([asked, torch.full_like(grids, -1)], 1)
        return torch.cat([asked, grids], 1), Condition(known_tokens=known)

    def questions(self, count: int) -> Questions:
        """Puzzles with one solution, of which no clue can be spared (of 9 x 9, up to about 30 clues are left)."""
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
            asked.append(f"{dotted}={GAP * len(grid)}" if self.written else dotted.replace(".", GAP))
            answers.append(f"{dotted}={whole}" if self.written else whole)
        return Questions(tuple(asked), tuple(answers))
