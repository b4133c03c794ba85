import itertools

import pytest

from unmelt.errors import UsageError
from unmelt.rng import Stream
from unmelt.scene import COLOURS, OBJECTS, PLACES, Group, Scene, check, paint, scene_prompts, word


def all_groups(objects=OBJECTS[:3], colours=COLOURS[:2]):
    for thing, colour, number, place in itertools.product(objects, (None, *colours), (1, 2, 3), (None, *PLACES)):
        yield Group(thing, colour, number, place)


def test_text_and_scene_are_inverse_to_each_other():
    texts = set()
    for count in (1, 2):
        for groups in itertools.product(all_groups(), repeat=count):
            try:
                scene = Scene(groups)
            except UsageError:
                continue
            assert Scene.parse(str(scene)) == scene
            texts.add(str(scene))
    assert len(texts) == 3 * 3 * (2 + 1 + 4) + 9 * 9 * 5  # objects times colours times what else; pairs times places


@pytest.mark.parametrize(
    "text",
    ["", "apple", "4 apple", "2 crimson apple", "1 red pear", "2 apple left", "1 apple left; 1 cat top",
     "1 apple left; 1 cat", "2 apple; 1 cat", "1 cat; 1 cat; 1 cat", "1 red apple left right"],
)  # fmt: skip
def test_what_is_no_scene_is_refused(text):
    with pytest.raises(UsageError):
        Scene.parse(text)


def test_a_word_that_is_nearly_right_is_named():
    with pytest.raises(UsageError, match="orange"):
        Group("apple", "ornage")


def test_arguments_that_are_no_scene_are_refused():
    rng, wrong = Stream(0), "1 cat"
    for call in (
        lambda: Scene.parse(None),
        lambda: Scene.parse("9" * 5000 + " cat"),  # more digits than Python converts
        lambda: paint(wrong, rng),
        lambda: word(wrong, rng),
        lambda: check(wrong, ()),
        lambda: scene_prompts(None, 6),
    ):
        with pytest.raises(UsageError):
            call()
    with pytest.raises(UsageError, match="prompts=0"):
        scene_prompts("seen", 0)
