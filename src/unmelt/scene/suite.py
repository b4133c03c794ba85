"""Test suites: scenes of one kind with a wording each, in the manner of GenEval (Ghosh et al., 2023).

object          1 cat
two objects     1 cat; 1 cup
number          2 cat, 3 cat
colour          1 red cat
place           1 cat left; 1 cup right
two colours     1 red cat; 1 blue cup
"""

from functools import lru_cache
from itertools import permutations, product
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from unmelt.arguments import checked
from unmelt.errors import UsageError, nearest
from unmelt.rng import Stream, fold
from unmelt.scene.choice import choose
from unmelt.scene.combinations import is_held_out
from unmelt.scene.scene import COLOURS, OBJECTS, OPPOSITE, Group, Scene
from unmelt.scene.wording import Kind, word

SuiteKind: TypeAlias = Literal["object", "two objects", "number", "colour", "place", "two colours"]
"""What a suite tests."""

SUITES: Final[tuple[str, ...]] = get_args(SuiteKind)
"""Kinds of scenes."""


class WordedScene(NamedTuple):
    """A scene in words.

    Args:
        scene: The scene.
        wording: Its wording.
    """

    scene: Scene
    wording: str


@checked("um.scene.suite")
def suite(
    kind: SuiteKind, rows: int, seed: int = 0, *, combinations: Kind = "seen", wording: Kind = "seen"
) -> list[WordedScene]:
    """Draw a test suite.

    Args:
        kind: What it tests.
        rows: Number of scenes.
        seed: Seed of their order and of their wordings.
        combinations: Scenes that training may have shown, or those with combinations that it did not.
        wording: Wordings of training, or those kept for tests.

    Returns:
        The scenes with their wordings. Numbers, places and first colours take turns; no scene of those that share one
        comes again before the others have come.

    Raises:
        UsageError: If there is no such kind, no row is asked for, or the kind combines nothing that could be held out.
    """
    if kind not in SUITES:
        raise UsageError(f"a suite of kind {kind!r}", f"one of {', '.join(SUITES)}", repr(nearest(kind, SUITES)))
    if rows < 1:
        raise UsageError(f"rows={rows}", "at least one", f"suite({kind!r}, 100)")
    if combinations not in get_args(Kind):
        raise UsageError(f"combinations={combinations!r}", "seen or held_out", 'combinations="seen"')
    fitting = [scene for scene in _scenes(kind) if is_held_out(scene) == (combinations == "held_out")]
    if not fitting:
        raise UsageError(f"held-out combinations of kind {kind!r}, which combines nothing", "another kind", "'colour'")
    turns: dict[tuple[object, ...], list[Scene]] = {}
    for scene in fitting:
        first = scene.groups[0]
        turns.setdefault((first.number, first.colour, first.place), []).append(scene)
    rng, decks, drawn = Stream(fold(seed, SUITES.index(kind))), list(turns.values()), []
    left: list[list[Scene]] = [[] for _ in decks]
    for row in range(rows):
        turn = row % len(decks)
        left[turn] = left[turn] or list(decks[turn])
        scene = choose(left[turn], rng)
        left[turn].remove(scene)
        drawn.append(WordedScene(scene, word(scene, rng, wording)))
    return drawn


@lru_cache(maxsize=len(SUITES))
def _scenes(kind: str) -> tuple[Scene, ...]:
    """All scenes of a kind."""
    if kind == "object":
        return tuple(Scene((Group(thing),)) for thing in OBJECTS)
    if kind == "number":
        return tuple(Scene((Group(thing, number=number),)) for thing in OBJECTS for number in (2, 3))
    if kind == "colour":
        return tuple(Scene((Group(thing, colour),)) for thing, colour in product(OBJECTS, COLOURS))
    pairs = list(permutations(OBJECTS, 2))
    if kind == "two objects":
        return tuple(Scene((Group(one), Group(other))) for one, other in pairs)
    if kind == "place":
        return tuple(
            Scene((Group(one, place=place), Group(other, place=across)))
            for (one, other), (place, across) in product(pairs, OPPOSITE.items())
        )
    return tuple(
        Scene((Group(one, first), Group(other, second)))
        for (one, other), (first, second) in product(pairs, permutations(COLOURS, 2))
    )
