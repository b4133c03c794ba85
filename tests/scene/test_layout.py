"""Layouts: cells are where pictures have their things, in plans that are drawn as in pictures that are painted."""

import re
from collections import Counter

import pytest

import unmelt as um
from unmelt.errors import UsageError
from unmelt.rng import Stream
from unmelt.scene import Group, Scene, cell_of, lay_out, paint, read

SCENES = ("1 cat", "1 red star left", "2 blue fish", "3 tree", "1 cup top; 1 car bottom", "1 red moon; 1 green moon")


def cells_of(things):
    return [cell_of(thing.x, thing.y) for thing in things]


def test_cells_divide_where_centres_can_be():
    low, high = 5 / 32, 27 / 32
    edges = [low + (high - low) * k / 6 for k in range(7)]
    for k in range(6):
        for x in (edges[k] + 1e-6, edges[k + 1] - 1e-6):
            assert cell_of(x, 0.5) == "abcdef"[k] + "4"
            assert cell_of(0.4, x) == "c" + "123456"[k]
    assert (cell_of(0.0, 1.0), cell_of(1.0, 0.0)) == ("a6", "f1")


@pytest.mark.parametrize("text", ["1 cat b2", "3 red star a1 f6 c4", "1 cat left b3; 1 blue cup right e5"])
def test_cells_are_part_of_a_plan(text):
    scene = Scene.parse(text)
    assert str(scene) == text
    words = text.replace(";", "").split()
    found = [cell for group in scene.groups for cell in group.cells]
    assert found == [word for word in words if re.fullmatch("[a-f][1-6]", word)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 cat b2", "a different cell for each object"),
        ("2 cat b2 b2", "a different cell for each object"),
        ("1 cat left c3", "a or b at the left"),
        ("1 cat bottom b4", "5 or 6 at the bottom"),
        ("1 cat b2; 1 cup", "a cell of its own for each object, or none"),
        ("1 cat b2; 1 cup b2", "a cell of its own for each object, or none"),
        ("1 cat g2", "apple, bird"),
        ("1 cat b7", "apple, bird"),
    ],
)
def test_plans_with_other_cells_are_refused(text, said):
    with pytest.raises(UsageError, match=said):
        Scene.parse(text)
    with pytest.raises(UsageError, match="a column from a to f"):
        Group("cat", cells=("z9",))


@pytest.mark.parametrize("text", SCENES)
def test_layouts_are_as_frequent_as_in_pictures(text):
    scene, draws = Scene.parse(text), 1500
    drawn, painted = Counter(), Counter()
    rng = Stream(1)
    for _ in range(draws):
        laid_out = lay_out(scene, rng)
        assert [(group.object, group.colour, group.number, group.place) for group in laid_out.groups] == [
            (group.object, group.colour, group.number, group.place) for group in scene.groups
        ]
        assert lay_out(laid_out, rng) is laid_out
        drawn.update(cell for group in laid_out.groups for cell in group.cells)
        painted.update(cells_of(paint(scene, rng).things))
    cells = [column + row for column in "abcdef" for row in "123456"]
    total = sum(drawn.values())
    far = sum((drawn[cell] - painted[cell]) ** 2 / max(drawn[cell] + painted[cell], 1) for cell in cells)
    kinds = sum(1 for cell in cells if drawn[cell] + painted[cell])
    assert sum(painted.values()) == total
    assert far < kinds + 5 * (2 * kinds) ** 0.5  # chi-squared of two samples


def apart(one, other):
    """Columns or rows between two cells."""
    return max(abs(ord(a) - ord(b)) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("size", [24, 32, 50, 64])
def test_pictures_have_things_in_their_cells(size):
    rng = Stream(2)
    for text in SCENES:
        for _ in range(20):
            scene = lay_out(Scene.parse(text), rng)
            wanted = [cell for group in scene.groups for cell in group.cells]
            found = cells_of(paint(scene, rng, size).things)
            near = max(apart(one, other) for one, other in zip(found, wanted, strict=True))
            assert near <= (size != 32)  # sizes are rounded to pixels, so that some layouts just do not fit


def test_what_is_read_in_a_picture_is_in_its_cells():
    picture = paint(Scene.parse("1 red cat a1; 1 blue cup f6"), Stream(0)).picture
    assert {(thing.object, cell_of(thing.x, thing.y)) for thing in read(picture[None])[0]} == {
        ("cat", "a1"),
        ("cup", "f6"),
    }


def test_things_that_would_overlap_are_refused():
    with pytest.raises(UsageError, match="so far apart"):
        paint(Scene.parse("3 cat a1 b1 c1"), Stream(0))


def test_things_in_cells_that_are_a_little_too_near_move_to_the_next():
    things = paint(Scene.parse("2 cat b2 b3"), Stream(0)).things
    assert max(apart(one, other) for one, other in zip(cells_of(things), ("b2", "b3"), strict=True)) == 1


def test_captions_with_cells_are_of_pictures_that_have_them():
    source = um.data.Scenes(captions=60, layouts=True, seed=3)
    forms = Counter()
    for shown in source.pool:
        wording, _, plan = shown.caption.rpartition(" | ")
        cells = [cell for group in shown.scene.groups for cell in group.cells]
        if cells:
            assert plan == str(shown.scene)
            assert cells_of(paint(shown.scene, Stream(0)).things) == cells
        forms[bool(wording), bool(cells)] += 1
    assert set(forms) == {(True, True), (True, False), (False, True), (False, False)}
    plain = um.data.Scenes(captions=60, seed=3)
    assert not any(group.cells for each in plain.pool for group in each.scene.groups)
