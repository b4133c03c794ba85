"""Checking: whether the things in a picture are those of a scene."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Final

from unmelt.arguments import checked
from unmelt.scene.scene import Group, Scene
from unmelt.scene.thing import Thing

OUTER: Final = 0.44
"""Share of the picture in which a thing with a place must have its centre; wider than where it is painted."""


@checked("um.scene.check")
def check(scene: Scene, things: Sequence[Thing]) -> dict[str, bool]:
    """Compare what was read in a picture with the scene that it should show.

    Args:
        scene: What should be there.
        things: What is there.

    Returns:
        objects: The kinds of objects are those of the scene, no more and no fewer.
        number: So are their numbers.
        colour: Every object of the scene is there in its colour, whatever else is there.
        place: Every object of the scene is there at its place, whatever else is there.
        all: There are the things of the scene, in their colours and at their places, and nothing more.
    """
    wanted = [group for group in scene.groups for _ in range(group.number)]
    asked, there = Counter(group.object for group in wanted), Counter(thing.object for thing in things)
    return {
        "objects": set(asked) == set(there),
        "number": asked == there,
        "colour": _assigned(wanted, things, _has_colour),
        "place": _assigned(wanted, things, _has_place),
        "all": len(things) == len(wanted)
        and _assigned(wanted, things, lambda group, thing: _has_colour(group, thing) and _has_place(group, thing)),
    }


def _assigned(wanted: Sequence[Group], things: Sequence[Thing], fits: Callable[[Group, Thing], bool]) -> bool:
    """Whether each of what is wanted can have a thing of its own that fits."""
    return any(all(map(fits, wanted, some)) for some in permutations(things, len(wanted)))


def _has_colour(group: Group, thing: Thing) -> bool:
    return group.object == thing.object and group.colour in (None, thing.colour)


def _has_place(group: Group, thing: Thing) -> bool:
    if group.object != thing.object or group.place is None:
        return group.object == thing.object
    return {"left": thing.x, "right": 1 - thing.x, "top": thing.y, "bottom": 1 - thing.y}[group.place] <= OUTER
