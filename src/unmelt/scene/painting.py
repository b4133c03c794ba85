"""Painting: a picture of a scene, drawn by chance from all that show it.

Where things stand is drawn by `arrangement`; in scenes with cells, by `layout`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked
from unmelt.errors import UsageError
from unmelt.rng import Random
from unmelt.scene.arrangement import PARTS, SIDES, arranged
from unmelt.scene.layout import arranged_in_cells
from unmelt.scene.scene import COLOURS, Scene
from unmelt.scene.sprites import sprites
from unmelt.scene.thing import Thing

LEAST: Final = 24
"""Least side of a picture, in pixels."""


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
        UsageError: If the picture is too small, or things in their cells would overlap.
    """
    if size < LEAST:
        raise UsageError(f"size={size}", f"a side of at least {LEAST} pixels", "size=32")
    wanted = [group for group in scene.groups for _ in range(group.number)]
    chances = rng.uniform((len(wanted), 2), torch.float64).tolist()
    places = [group.place for group in wanted]
    if cells := [cell for group in scene.groups for cell in group.cells]:
        sides, corners = arranged_in_cells(cells, places, size, rng)
    else:
        sides = [round(size * SIDES[int(one * len(SIDES))] / PARTS) for one, _ in chances]
        corners = arranged(sides, places, size, rng)
    picture, things = torch.ones(3, size, size), []
    for group, (_, chance), (left, top), width in zip(wanted, chances, corners, sides, strict=True):
        open_to = COLOURS if colours is None else colours[group.object]
        colour = open_to[int(chance * len(open_to))] if group.colour is None else group.colour
        drawn = sprites(width).of(group.object, colour)
        place = picture[:, top : top + width, left : left + width]
        place.lerp_(drawn.rgb, drawn.alpha.expand(3, -1, -1))
        things.append(Thing(group.object, colour, (left + width / 2) / size, (top + width / 2) / size))
    return PaintedScene(picture, tuple(things))
