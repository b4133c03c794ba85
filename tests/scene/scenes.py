"""Scenes of every layout, a few or all."""

import itertools
import random
from collections.abc import Iterator

from unmelt.errors import UsageError
from unmelt.scene import COLOURS, OBJECTS, PLACES, Group, Scene
from unmelt.scene.scene import OPPOSITE


def every_scene(objects=OBJECTS, colours=COLOURS) -> Iterator[Scene]:
    """All scenes of these objects and colours."""
    groups = [Group(*each) for each in itertools.product(objects, (None, *colours), (1, 2, 3), (None, *PLACES))]
    for count in (1, 2):
        for some in itertools.product(groups, repeat=count):
            try:
                yield Scene(some)
            except UsageError:
                continue


def some_scenes(count, seed=0) -> list[Scene]:
    """Scenes by chance, held-out ones among them."""
    chance = random.Random(seed)

    def group(number=1, place=None):
        return Group(chance.choice(OBJECTS), chance.choice((None, *COLOURS)), number, place)

    def scene():
        place = chance.choice(PLACES)
        return chance.choice(
            (
                (group(),),
                (group(chance.choice((2, 3))),),
                (group(place=place),),
                (group(), group()),
                (group(place=place), group(place=OPPOSITE[place])),
            )
        )

    return [Scene(scene()) for _ in range(count)]
