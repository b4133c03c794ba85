"""Combinations that are kept out of training, so that it can be tested whether a model combines what it has learned.

With objects and colours numbered in their order, object i in colour j is held out where i + j = 3 mod 6, and objects i
and k side by side where i + k = 1 mod 6. One in six is held out of the first kind, and 12 of 66 of the second. Every
object is seen in five colours and together with nine others, every colour on ten objects.
"""

from collections.abc import Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Final

from unmelt.scene.scene import COLOURS, OBJECTS, Scene

HELD_OUT_COLOURED: Final = frozenset(
    (thing, colour) for i, thing in enumerate(OBJECTS) for j, colour in enumerate(COLOURS) if (i + j) % 6 == 3
)
"""Pairs of object and colour that training does not show."""

HELD_OUT_PAIRS: Final = frozenset(
    frozenset((OBJECTS[i], OBJECTS[k])) for i, k in combinations(range(len(OBJECTS)), 2) if (i + k) % 6 == 1
)
"""Pairs of objects that training does not show together."""

SEEN_COLOURS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {thing: tuple(each for each in COLOURS if (thing, each) not in HELD_OUT_COLOURED) for thing in OBJECTS}
)
"""By object, the colours in which training shows it."""


def is_held_out(scene: Scene) -> bool:
    """Tell whether a scene is kept out of training.

    Args:
        scene: The scene.

    Returns:
        True if it has an object in a colour, or two objects side by side, that training does not show.
    """
    coloured = any((group.object, group.colour) in HELD_OUT_COLOURED for group in scene.groups)
    return coloured or frozenset(group.object for group in scene.groups) in HELD_OUT_PAIRS
