"""The reading of a prompt is the most probable one of all that are valid scenes."""

from itertools import product

import pytest
import torch

from unmelt.planner.meaning import IGNORED, NOTHING, Meaning, literal, singular, words_of
from unmelt.planner.reading import best_reading
from unmelt.scene import Scene


def read(prompt, **asked):
    """Read a prompt; words that are not literal mean what is given, or nothing."""
    words = words_of(prompt)
    scores = []
    for word in words:
        known = asked.get(word) or {literal(word) or NOTHING: 0.0}
        meaning = next(iter(known))
        scores.append({NOTHING: IGNORED[meaning.kind]} | known)
    found = best_reading(words, scores)
    return None if found is None else found.scene


@pytest.mark.parametrize(
    ("prompt", "plan"),
    [
        ("a red apple", "1 red apple"),
        ("Three cats!", "3 cat"),
        ("2 fishes", "2 fish"),
        ("a red cat to the left of a green car", "1 red cat left; 1 green car right"),
        ("to the left of the green car is a red cat", "1 green car right; 1 red cat left"),
        ("below a moon, a tree", "1 moon top; 1 tree bottom"),
        ("on the left, a star", "1 star left"),
        ("on the left a star and a heart on the right", "1 star left; 1 heart right"),
        ("a bird above one house", "1 bird top; 1 house bottom"),
        ("a cup and a fish", "1 cup; 1 fish"),
        ("a cat that is blue", "1 blue cat"),
        ("a flower in the upper half", "1 flower top"),
        ("a moon which is yellow over one red house", "1 yellow moon top; 1 red house bottom"),
    ],
)
def test_literal_prompts(prompt, plan):
    assert read(prompt) == Scene.parse(plan)


def test_what_no_scene_can_hold_gives_way():
    assert read("two apples and a cat") == Scene.parse("1 apple; 1 cat")  # the number is dropped, not an object
    assert read("an apple, a cat and a car") is not None
    assert read("the of and") is None


def test_names_in_a_row_are_one_object():
    lemon = {Meaning("object", "tree"): -0.1, Meaning("colour", "yellow"): -3.0}
    assert read("a lemon moon", lemon=lemon) == Scene.parse("1 yellow moon")
    assert read("a lemon and a moon", lemon=lemon) == Scene.parse("1 tree; 1 moon")


def test_a_reading_is_the_best_of_all_meanings_of_all_words():
    meanings = [Meaning("object", "cat"), Meaning("object", "car"), Meaning("colour", "red"), NOTHING]
    meanings += [Meaning("number", "2"), Meaning("place", "left")]
    words = ["x", "and", "y", "z"]
    single = {
        each: best_reading(words, [{meaning: 0.0} for meaning in each]) for each in product(meanings, repeat=len(words))
    }
    valid = {each: found for each, found in single.items() if found is not None}
    assert 100 < len(valid) < len(single)
    for draw in (3 * torch.randn(20, 4, 6, generator=torch.Generator().manual_seed(0))).tolist():
        scores = [dict(zip(meanings, row, strict=True)) for row in draw]
        totals = {
            each: alone.log_prob + sum(score[meaning] for score, meaning in zip(scores, each, strict=True))
            for each, alone in valid.items()
        }
        best = max(totals, key=lambda each: totals[each])
        found = best_reading(words, scores)
        assert found.log_prob == pytest.approx(totals[best])
        assert found.scene == valid[best].scene


def test_endings_of_plurals():
    assert [singular(word) for word in ("cherries", "birches", "foxes", "houses", "glass", "us", "cats")] == [
        *("cherry", "birch", "fox", "house", "glass", "us", "cat")
    ]
