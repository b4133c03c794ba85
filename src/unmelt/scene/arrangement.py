"""Arrangements: where things stand in a picture, uniform among all that fit.

Things have sides of 10 to 12 parts in 32 of the picture's, stand whole in it, and have gaps of at least a part. A
thing with a place has its centre in the outer 36% of that side. The centres of two things at opposite places are
therefore separated by at least 28% of the picture.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Final

import torch

from unmelt.rng import Random

PARTS: Final = 32
"""Parts of the picture's side in which sizes are given."""

SIDES: Final = (10, 11, 12)
"""Sides of things, in parts."""

OUTER: Final = 0.36
"""Share of the picture in which the centre of a thing with a place lies."""

TRIES: Final = 32
"""Arrangements that are drawn at a time, of which the first that fits is taken."""


def arranged(sides: Sequence[int], places: Sequence[str | None], size: int, rng: Random) -> list[tuple[int, int]]:
    """Draw an arrangement.

    Args:
        sides: Sides of the things, in pixels.
        places: The place of each, or None.
        size: Side of the picture, in pixels.
        rng: Source of randomness.

    Returns:
        Left and top of each thing, in pixels.
    """
    while True:
        for chance in rng.uniform((TRIES, len(sides), 2), torch.float64).tolist():
            corners = [
                (int(x * (size - side + 1)), int(y * (size - side + 1)))
                for (x, y), side in zip(chance, sides, strict=True)
            ]
            if fits(corners, sides, places, size):
                return corners


def fits(corners: Sequence[tuple[int, int]], sides: Sequence[int], places: Sequence[str | None], size: int) -> bool:
    """Tell whether there are gaps between things, and those with a place are at it.

    Args:
        corners: Left and top of each thing, in pixels.
        sides: Sides of the things.
        places: The place of each, or None.
        size: Side of the picture.

    Returns:
        True if so.
    """
    for (left, top), side, place in zip(corners, sides, places, strict=True):
        x, y = (left + side / 2) / size, (top + side / 2) / size
        if place is not None and {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}[place] > OUTER:
            return False
    things = zip(corners, sides, strict=True)
    return all(
        max(a - b - wide, b - a - narrow, c - d - wide, d - c - narrow) >= size / PARTS
        for ((a, c), narrow), ((b, d), wide) in combinations(things, 2)
    )
