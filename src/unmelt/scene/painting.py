"""Painting: a picture of a scene, drawn by chance from all that show it.

Things have sides of 10 to 12 parts in 32 of the picture's, stand whole in it, and have gaps of at least a part. A
thing with a place has its centre in the outer 36% of that side. The centres of two things at opposite places are
therefore separated by at least 28% of the picture.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked
from unmelt.errors import UsageError
from unmelt.rng import Random
from unmelt.scene.scene import COLOURS, Scene
from unmelt.scene.sprites import sprites
from unmelt.scene.thing import Thing

PARTS: Final = 32
"""Parts of the picture's side in which sizes are given."""

SIDES: Final = (10, 11, 12)
"""Sides of things, in parts."""

OUTER: Final = 0.36
"""Share of the picture in which the centre of a thing with a place lies."""

LEAST: Final = 24
"""Least side of a picture, in pixels."""

TRIES: Final = 32
"""Arrangements that are drawn at a time, of which the first that fits is taken."""


class PaintedScene(NamedTuple):
    """A picture and what is in it.

    Args:
        picture: Red, green and blue, in [0, 1].
        things: What was painted, in the order of the scene's groups.
    """

    picture: Float[Tensor, "3 size size"]
    things: tuple[Thing, ...]


@checked("um.scene.paint")
def paint(
    scene: Scene, rng: Random, size: int = 32, colours: Mapping[str, Sequence[str]] | None = None
) -> PaintedScene:
    """Paint a scene.

    Args:
        scene: What to show.
        rng: Chooses sizes, positions, and the colours of things that the scene leaves open.
        size: Side of the picture in pixels, at least 24.
        colours: By object, the colours that it may be given where the scene leaves it open. None: all colours.

    Returns:
        The picture and the things in it.

    Raises:
        UsageError: If the picture is too small.
    """
    if size < LEAST:
        raise UsageError(f"size={size}", f"a side of at least {LEAST} pixels", "size=32")
    wanted = [group for group in scene.groups for _ in range(group.number)]
    chances = rng.uniform((len(wanted), 2), torch.float64).tolist()
    sides = [round(size * SIDES[int(one * len(SIDES))] / PARTS) for one, _ in chances]
    corners = _corners(sides, [group.place for group in wanted], size, rng)
    picture, things = torch.ones(3, size, size), []
    for group, (_, chance), (left, top), width in zip(wanted, chances, corners, sides, strict=True):
        open_to = COLOURS if colours is None else colours[group.object]
        colour = open_to[int(chance * len(open_to))] if group.colour is None else group.colour
        drawn = sprites(width).of(group.object, colour)
        place = picture[:, top : top + width, left : left + width]
        place.lerp_(drawn.rgb, drawn.alpha.expand(3, -1, -1))
        things.append(Thing(group.object, colour, (left + width / 2) / size, (top + width / 2) / size))
    return PaintedScene(picture, tuple(things))


def _corners(sides: Sequence[int], places: Sequence[str | None], size: int, rng: Random) -> list[tuple[int, int]]:
    """Left and top of things of these sides, in pixels: uniform among all arrangements that fit."""
    while True:
        for chance in rng.uniform((TRIES, len(sides), 2), torch.float64).tolist():
            corners = [
                (int(x * (size - side + 1)), int(y * (size - side + 1)))
                for (x, y), side in zip(chance, sides, strict=True)
            ]
            if _fits(corners, sides, places, size):
                return corners


def _fits(corners: Sequence[tuple[int, int]], sides: Sequence[int], places: Sequence[str | None], size: int) -> bool:
    """Whether there are gaps between things, and those with a place are at it."""
    for (left, top), side, place in zip(corners, sides, places, strict=True):
        x, y = (left + side / 2) / size, (top + side / 2) / size
        if place is not None and {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}[place] > OUTER:
            return False
    things = zip(corners, sides, strict=True)
    return all(
        max(a - b - wide, b - a - narrow, c - d - wide, d - c - narrow) >= size / PARTS
        for ((a, c), narrow), ((b, d), wide) in combinations(things, 2)
    )
