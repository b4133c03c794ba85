"""Scenes by chance, as a model is trained on them.

    one object      1/4     half of them at a place
    two or three    1/4
    two groups      1/2     half of them at opposite places

A group has a colour three times out of four. Held-out combinations are drawn again.
"""

from unmelt.rng import Random
from unmelt.scene.choice import choose
from unmelt.scene.combinations import is_held_out
from unmelt.scene.scene import COLOURS, OBJECTS, OPPOSITE, PLACES, Group, Scene


def random_scene(rng: Random) -> Scene:
    """Draw a scene that is not held out.

    Args:
        rng: Source of randomness.

    Returns:
        The scene.
    """
    while is_held_out(scene := _any_scene(rng)):
        pass
    return scene


def _any_scene(rng: Random) -> Scene:
    layout = choose(("one", "several", "two", "two"), rng)
    place = choose((None, choose(PLACES, rng)), rng)
    if layout == "one":
        return Scene((_group(rng, place=place),))
    if layout == "several":
        return Scene((_group(rng, number=choose((2, 3), rng)),))
    return Scene((_group(rng, place=place), _group(rng, place=None if place is None else OPPOSITE[place])))


def _group(rng: Random, number: int = 1, place: str | None = None) -> Group:
    thing, colour, coloured = choose(OBJECTS, rng), choose(COLOURS, rng), choose((True, True, True, False), rng)
    return Group(thing, colour if coloured else None, number, place)
