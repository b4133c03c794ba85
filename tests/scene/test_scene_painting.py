import itertools

import pytest
import torch
from scenes import some_scenes

from unmelt.errors import UsageError
from unmelt.rng import Stream
from unmelt.scene import HELD_OUT_COLOURED, OBJECTS, SEEN_COLOURS, Group, Scene, check, paint
from unmelt.scene.painting import SIDES

SCENES = some_scenes(60)


@pytest.mark.parametrize("size", [24, 32, 50, 64])
def test_what_is_painted_is_the_scene_whole_and_apart(size):
    rng = Stream(0)
    for scene in SCENES:
        picture, things = paint(scene, rng, size)
        assert picture.shape == (3, size, size)
        assert 0 <= picture.min() <= picture.max() <= 1
        assert check(scene, things)["all"]
        half = min(SIDES) / 32 / 2 - 0.5 / size
        for thing in things:
            assert half <= min(thing.x, thing.y) <= max(thing.x, thing.y) <= 1 - half
        for one, other in itertools.combinations(things, 2):
            assert max(abs(one.x - other.x), abs(one.y - other.y)) >= 2 * half + 1 / 32
        if len(things) == 2 and scene.groups[0].place is not None:
            along = "x" if scene.groups[0].place in ("left", "right") else "y"
            assert abs(getattr(things[0], along) - getattr(things[1], along)) >= 0.28


def test_all_ink_is_inside_the_squares_of_things():
    for scene in SCENES:
        picture, things = paint(scene, Stream(1), 32)
        outside = torch.ones(32, 32, dtype=torch.bool)
        for thing in things:
            x, y = int(32 * thing.x), int(32 * thing.y)
            square = (slice(max(0, y - 6), y + 6), slice(max(0, x - 6), x + 6))
            outside[square] = False
            assert (1 - picture[:, *square]).sum() > 10
        assert (picture[:, outside] == 1).all()


def test_the_same_seed_paints_the_same_picture_and_another_seed_another():
    scene = Scene.parse("3 star")
    one, again, other = (paint(scene, Stream(seed)) for seed in (3, 3, 4))
    assert torch.equal(one.picture, again.picture)
    assert one.things == again.things
    assert not torch.equal(one.picture, other.picture)


def test_open_colours_are_of_those_allowed():
    rng, scene = Stream(0), Scene((Group("apple", number=3),))
    found = {thing.colour for _ in range(20) for thing in paint(scene, rng, colours=SEEN_COLOURS).things}
    assert found == set(SEEN_COLOURS["apple"])
    assert all(len(SEEN_COLOURS[thing]) == 5 for thing in OBJECTS)
    assert not {("apple", colour) for colour in found} & HELD_OUT_COLOURED


def test_a_picture_that_is_too_small_is_refused():
    with pytest.raises(UsageError, match="size=23"):
        paint(Scene.parse("1 cat"), Stream(0), 23)
