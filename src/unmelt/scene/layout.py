"""Layouts: scenes in which each thing has a cell of the picture.

    2 red star b2 e5; 1 blue cat c6

Columns a to f go from left to right and rows 1 to 6 from top to bottom, over all places that the centre of a thing can
have. A layout leaves little to be decided at large: what stands where, and how much of it there is (LayoutGPT: Feng et
al., 2023; GLIGEN: Li et al., 2023).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked
from unmelt.errors import UsageError
from unmelt.rng import Random
from unmelt.scene.arrangement import PARTS, SIDES, TRIES, arranged, fits
from unmelt.scene.scene import CELL_COLUMNS, CELL_ROWS, COLOURS, OBJECTS, Scene

MAP_CHANNELS: Final = 1 + len(OBJECTS) + len(COLOURS)
"""Channels of a map of a layout: 1 where there is anything, and 1 for its object and for its colour."""


@checked("um.scene.lay_out")
def lay_out(scene: Scene, rng: Random) -> Scene:
    """Draw a layout of a scene, as frequent as it is among pictures of the scene.

    Args:
        scene: The scene.
        rng: Source of randomness.

    Returns:
        The scene with a cell for each of its things. A scene that has them is returned as it is.
    """
    if all(group.cells for group in scene.groups):
        return scene
    wanted = [group for group in scene.groups for _ in range(group.number)]
    sides = [SIDES[int(one * len(SIDES))] for one in rng.uniform((len(wanted),)).tolist()]
    corners = arranged(sides, [group.place for group in wanted], PARTS, rng)
    cells = iter(
        [cell_of((x + side / 2) / PARTS, (y + side / 2) / PARTS) for (x, y), side in zip(corners, sides, strict=True)]
    )
    return Scene(tuple(replace(group, cells=_next(cells, group.number)) for group in scene.groups))


@checked("um.scene.cell_of")
def cell_of(x: float, y: float) -> str:
    """The cell of a thing.

    Args:
        x: Its centre from the left, as a share of the picture's side.
        y: Its centre from the top.

    Returns:
        Column and row, such as b2.
    """
    return CELL_COLUMNS[_index(x)] + CELL_ROWS[_index(y)]


@checked("um.scene.layout_map")
def layout_map(scene: Scene, size: int = 32) -> Float[Tensor, "channels size size"]:
    """Draw a layout as a map: each thing is a box around the middle of its cell.

    Args:
        scene: A scene with cells.
        size: Side of the map.

    Returns:
        [19, size, size], 0 or 1: whether there is a thing, which of OBJECTS it is, and which of COLOURS it has; no
        colour is 1 where the scene leaves it open.
    """
    made = torch.zeros(MAP_CHANNELS, size, size)
    low, number, half = SIDES[0] / PARTS / 2, len(CELL_COLUMNS), SIDES[-1] / PARTS / 2
    middle = (torch.arange(size) + 0.5) / size
    for group in scene.groups:
        channels = [0, 1 + OBJECTS.index(group.object)]
        if group.colour is not None:
            channels.append(1 + len(OBJECTS) + COLOURS.index(group.colour))
        for cell in group.cells:
            x, y = (
                low + (index + 0.5) / number * (1 - 2 * low)
                for index in (CELL_COLUMNS.index(cell[0]), CELL_ROWS.index(cell[1]))
            )
            inside = ((middle - y).abs() <= half)[:, None] & ((middle - x).abs() <= half)
            for channel in channels:
                made[channel][inside] = 1.0
    return made


def arranged_in_cells(
    cells: Sequence[str], places: Sequence[str | None], size: int, rng: Random
) -> tuple[list[int], list[tuple[int, int]]]:
    """Draw sides and positions of things in their cells; in the next ones if they would overlap there.

    Args:
        cells: The cell of each thing.
        places: The place of each, or None.
        size: Side of the picture, in pixels.
        rng: Source of randomness.

    Returns:
        (sides in pixels, left and top of each).

    Raises:
        UsageError: If things overlap there too.
    """
    for slack, _ in product((0, 1), range(4 * TRIES)):
        for chances in rng.uniform((TRIES, len(cells), 3)).tolist():
            sides = [round(size * SIDES[int(one * len(SIDES))] / PARTS) for one, _, _ in chances]
            corners = []
            for cell, side, (_, x, y) in zip(cells, sides, chances, strict=True):
                across = _starts(CELL_COLUMNS.index(cell[0]), slack, side, size)
                down = _starts(CELL_ROWS.index(cell[1]), slack, side, size)
                corners.append((across[int(x * len(across))], down[int(y * len(down))]))
            if fits(corners, sides, places, size):
                return sides, corners
    raise UsageError(f"things in cells {', '.join(cells)}", "cells so far apart that things do not overlap", "b2 e5")


def _next(cells: Iterator[str], number: int) -> tuple[str, ...]:
    return tuple(next(cells) for _ in range(number))


def _index(centre: float) -> int:
    """Which of the parts of the range that centres have."""
    low, number = SIDES[0] / PARTS / 2, len(CELL_COLUMNS)
    return min(max(int((centre - low) / (1 - 2 * low) * number), 0), number - 1)


@lru_cache(maxsize=4096)
def _starts(index: int, slack: int, side: int, size: int) -> list[int]:
    """Where things of this side may begin so that their centres are in this row or column, or so near to it."""
    starts = range(size - side + 1)
    found = [start for start in starts if abs(_index((start + side / 2) / size) - index) <= slack]
    return found or [0 if index == 0 else size - side]
