"""Suites are balanced, and what is held out is no part of training."""

from collections import Counter

import pytest
from jaxtyping import config

from unmelt.errors import UsageError
from unmelt.rng import Stream
from unmelt.scene import (
    COLOURS,
    HELD_OUT_COLOURED,
    HELD_OUT_PAIRS,
    OBJECTS,
    SUITES,
    Scene,
    is_held_out,
    random_scene,
    suite,
    wordings,
)


def test_a_sixth_is_held_out_and_every_object_and_colour_is_still_seen():
    assert len(HELD_OUT_COLOURED) == 12
    assert Counter(thing for thing, _ in HELD_OUT_COLOURED) == dict.fromkeys(OBJECTS, 1)
    assert Counter(colour for _, colour in HELD_OUT_COLOURED) == dict.fromkeys(COLOURS, 2)
    assert len(HELD_OUT_PAIRS) == 12
    assert all(len(pair) == 2 for pair in HELD_OUT_PAIRS)
    assert Counter(thing for pair in HELD_OUT_PAIRS for thing in pair) == dict.fromkeys(OBJECTS, 2)


def test_a_scene_is_held_out_by_either_of_its_groups_or_by_both_together():
    thing, colour = next(iter(HELD_OUT_COLOURED))
    other = next(each for each in COLOURS if each != colour)
    assert is_held_out(Scene.parse(f"2 {colour} {thing}"))
    assert is_held_out(Scene.parse(f"1 {thing}; 1 {colour} {thing}"))
    assert not is_held_out(Scene.parse(f"1 {other} {thing}"))
    one, two = sorted(next(iter(HELD_OUT_PAIRS)))
    assert is_held_out(Scene.parse(f"1 {one} left; 1 {two} right"))
    assert is_held_out(Scene.parse(f"1 {two}; 1 {one}"))
    assert not is_held_out(Scene.parse(f"1 {one}"))


def test_random_scenes_are_of_every_layout_and_never_held_out():
    rng = Stream(0)
    scenes = [random_scene(rng) for _ in range(600)]
    assert not any(map(is_held_out, scenes))
    groups = [group for scene in scenes for group in scene.groups]
    assert {group.object for group in groups} == set(OBJECTS)
    assert {group.colour for group in groups} == {None, *COLOURS}
    placed = [scene for scene in scenes if scene.groups[0].place is not None]
    two = [scene for scene in scenes if len(scene.groups) == 2]
    assert 0.18 < sum(scene.groups[0].number > 1 for scene in scenes) / 600 < 0.33
    assert 0.38 < len(two) / 600 < 0.55
    assert 0.3 < len(placed) / 600 < 0.45


@pytest.mark.parametrize("combinations", ["seen", "held_out"])
@pytest.mark.parametrize("wording", ["seen", "held_out"])
@pytest.mark.parametrize("kind", SUITES)
def test_suites_are_of_their_kind_and_balanced(kind, wording, combinations):
    if combinations == "held_out" and kind in ("object", "number"):
        with pytest.raises(UsageError, match="combines nothing"):
            suite(kind, 10, combinations=combinations)
        return
    rows = suite(kind, 72, seed=1, combinations=combinations, wording=wording)
    assert len(rows) == 72
    for scene, text in rows:
        assert is_held_out(scene) == (combinations == "held_out")
        assert text in wordings(scene, wording)
        assert len(scene.groups) == (2 if kind in ("two objects", "place", "two colours") else 1)
        first = scene.groups[0]
        assert (first.colour is not None) == (kind in ("colour", "two colours"))
        assert (first.place is not None) == (kind == "place")
        assert (first.number > 1) == (kind == "number")
    counts = Counter((scene.groups[0].number, scene.groups[0].colour, scene.groups[0].place) for scene, _ in rows)
    assert len(counts) == {"number": 2, "place": 4, "colour": 6, "two colours": 6}.get(kind, 1)
    assert max(counts.values()) == min(counts.values())
    if kind in ("object", "number", "colour"):
        again = Counter(scene for scene, _ in rows)
        assert max(again.values()) - min(again.values()) <= (1 if combinations == "seen" else 0)


def test_a_suite_is_that_of_its_seed():
    assert suite("place", 20, seed=3) == suite("place", 20, seed=3)
    assert suite("place", 20, seed=3) != suite("place", 20, seed=4)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"kind": "color"}, "colour"), ({"kind": "place", "rows": 0}, "rows=0"),
     ({"kind": "place", "combinations": "new"}, "combinations='new'"),
     ({"kind": "place", "wording": "new"}, "wording='new'")],
)  # fmt: skip
def test_what_makes_no_suite_is_refused(given, message, monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    with pytest.raises(UsageError, match=message):
        suite(**{"rows": 5, **given})
