"""Wordings are unambiguous, and those kept for tests have no word in common with those of training."""

import itertools
import re

import pytest
from jaxtyping import config
from scenes import every_scene

from unmelt.errors import UsageError
from unmelt.rng import Stream
from unmelt.scene import COLOURS, OBJECTS, Group, Scene, word, wordings
from unmelt.scene.wording import HELD_OUT, SEEN


@pytest.mark.parametrize("kind", ["seen", "held_out"])
def test_no_wording_belongs_to_two_scenes(kind):
    owner = {}
    alone = (scene for thing in OBJECTS for scene in every_scene((thing,), ()))
    scenes = {*every_scene(OBJECTS[:2], COLOURS[:1]), *alone}
    for scene in scenes:
        for text in wordings(scene, kind):
            assert owner.setdefault(text, scene) == scene
    assert set(owner.values()) == scenes


def test_no_noun_or_colour_is_that_of_two():
    for words in (SEEN, HELD_OUT):
        assert words.nouns.keys() == set(OBJECTS)
        assert words.colours.keys() == set(COLOURS)
    for table in ("nouns", "colours", "numbers", "places", "relations"):
        names = [name for words in (SEEN, HELD_OUT) for each in getattr(words, table).values() for name in each]
        repeated = {name for name in names if names.count(name) > 1}
        assert repeated <= {"a"}, table  # "a" stands for one in both


def test_words_kept_for_tests_are_no_words_of_training():
    def content(words):
        phrases = [*words.nouns.values(), *words.colours.values(), *words.numbers.values()]
        found = {each for phrase in itertools.chain(*phrases) for each in re.findall(r"[\w-]+", phrase)}
        return found - {"a", "of"}

    assert not content(SEEN) & content(HELD_OUT)
    for pattern in ("alone", "at_place", "two", "related", "both_placed"):
        assert not set(getattr(SEEN, pattern)) & set(getattr(HELD_OUT, pattern))


def test_numbers_articles_and_plurals_are_english():
    assert {"an apple", "one apple"} <= set(wordings(Scene.parse("1 apple")))
    assert {"two fish", "2 fish", "a pair of fish"} <= set(wordings(Scene.parse("2 fish")))
    assert "there are three orange cups" in wordings(Scene.parse("3 orange cup"))
    assert "there is an orange cup" in wordings(Scene.parse("1 orange cup"))
    assert "an apple below a red tree" in wordings(Scene.parse("1 apple bottom; 1 red tree top"))
    assert "draw an amber kitty" in wordings(Scene.parse("1 orange cat"), "held_out")
    assert "draw a trio of azure kitties" in wordings(Scene.parse("3 blue cat"), "held_out")
    assert "draw a piece of fruit beneath a single pine" in wordings(
        Scene.parse("1 apple bottom; 1 tree top"), "held_out"
    )


def test_every_wording_comes_as_often_as_the_others():
    scene, rng = Scene((Group("cat"),)), Stream(0)
    drawn = [word(scene, rng) for _ in range(2000)]
    expected = wordings(scene)
    assert set(drawn) == set(expected)
    assert all(abs(drawn.count(text) - 200) < 60 for text in expected)  # four standard deviations of 14


def test_another_kind_is_refused(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    with pytest.raises(UsageError, match="kind='heldout'"):
        word(Scene.parse("1 cat"), Stream(0), "heldout")
