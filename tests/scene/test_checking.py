import pytest

from unmelt.scene import Scene, Thing, check


def things(*texts):
    """Things from "red cat .2 .5"."""
    split = [text.split() for text in texts]
    return [Thing(name, colour, float(x), float(y)) for colour, name, x, y in split]


NONE, LEFT, RIGHT = (), "red cat .2 .5", "blue cup .8 .5"


@pytest.mark.parametrize(
    ("scene", "there", "right"),
    [
        ("1 cat", [LEFT], "objects number colour place all"),
        ("1 cat", [], ""),
        ("1 cat", [LEFT, "red cat .8 .5"], "objects colour place"),
        ("1 cat", [LEFT, RIGHT], "colour place"),
        ("1 blue cat", [LEFT], "objects number place"),
        ("1 cat right", [LEFT], "objects number colour"),
        ("1 cat left", ["red cat .5 .5"], "objects number colour"),
        ("2 red cat", [LEFT, "red cat .8 .5"], "objects number colour place all"),
        ("2 red cat", [LEFT, "blue cat .8 .5"], "objects number place"),
        ("3 red cat", [LEFT, "red cat .8 .5"], "objects"),
        ("1 red cat; 1 blue cup", [RIGHT, LEFT], "objects number colour place all"),
        ("1 blue cat; 1 red cup", [LEFT, RIGHT], "objects number place"),
        ("1 cat left; 1 cup right", [LEFT, RIGHT], "objects number colour place all"),
        ("1 cat right; 1 cup left", [LEFT, RIGHT], "objects number colour"),
        ("1 cat top; 1 cup bottom", ["red cat .5 .2", "red cup .5 .9"], "objects number colour place all"),
        ("1 red cat left; 1 blue cat right", [LEFT, "blue cat .8 .5"], "objects number colour place all"),
        ("1 red cat right; 1 blue cat left", [LEFT, "blue cat .8 .5"], "objects number colour place"),
    ],
)  # fmt: skip
def test_each_part_of_a_scene_is_judged_by_itself(scene, there, right):
    found = check(Scene.parse(scene), things(*there))
    assert [name for name, value in found.items() if value] == right.split()
