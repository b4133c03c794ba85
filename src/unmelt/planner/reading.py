"""The most probable reading of a prompt that is a valid scene.

Each word has a probability for each meaning. A reading gives every word one of them, and is a sentence of the grammar

    sentence  =  [place] object-phrase [place] [object-phrase [place]]
    object-phrase  =  [number] [colour] object

with words that mean nothing anywhere between. Its log-probability is the sum over its words. The search keeps the best
partial reading for each state of the grammar, so that it finds the best whole one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from unmelt.errors import UsageError
from unmelt.planner.meaning import BOUNDARIES, RELATIONS, Meaning
from unmelt.scene import Group, Scene
from unmelt.scene.scene import OPPOSITE

LATE = -1.0
"""Log-probability of a number or colour that follows its object: "a cat that is red"."""

STATES = 500
"""Partial readings that are kept; only a long prompt of many meanings has more."""


class Draft(NamedTuple):
    """An object of a scene that is still being read.

    Args:
        object: What it is, as of `Group`.
        colour: Its colour.
        number: How many.
        place: Its place.
    """

    object: str
    colour: str | None
    number: int
    place: str | None


class Partial(NamedTuple):
    """Where a reading is in the grammar.

    Args:
        groups: The objects so far.
        number: Number of the next object; None for none said.
        colour: Colour of the next object.
        place: Place of the next object.
        can_begin_object: Whether a new object may begin here.
    """

    groups: tuple[Draft, ...] = ()
    number: int | None = None
    colour: str | None = None
    place: str | None = None
    can_begin_object: bool = True


class SceneReading(NamedTuple):
    """A prompt, read.

    Args:
        scene: The scene that it asks for.
        log_prob: Log-probability of the reading.
    """

    scene: Scene
    log_prob: float


def best_reading(words: Sequence[str], scores: Sequence[Mapping[Meaning, float]]) -> SceneReading | None:
    """Read a scene from the words of a prompt.

    Args:
        words: The words.
        scores: For each word, log-probabilities of its meanings. Those that it cannot have are left out.

    Returns:
        The most probable reading that is a valid scene; None if there is none.
    """
    known = {Partial(): 0.0}
    for at, meanings in enumerate(scores):
        following: dict[Partial, float] = {}
        possible = _best_of_each(meanings)
        for state, before in known.items():
            for meaning, score in possible.items():
                for reached, extra in _continued(state, meaning, words, at):
                    total = before + score + extra
                    if total > following.get(reached, float("-inf")):
                        following[reached] = total
        best = sorted(following.items(), key=lambda each: -each[1])[:STATES]
        known = dict(best)
    for state, log_prob in known.items():  # the most probable first
        if (scene := _finished(state)) is not None:
            return SceneReading(scene, log_prob)
    return None


def _best_of_each(meanings: Mapping[Meaning, float]) -> dict[Meaning, float]:
    """The best meaning of each role in the grammar: an object, a colour, each place, the number 1, a higher number."""
    best: dict[tuple[str, str], tuple[float, Meaning]] = {}
    for meaning, score in meanings.items():
        kind, value = meaning
        role = (kind, value if kind == "place" or value == "1" else "")
        if role not in best or score > best[role][0]:
            best[role] = (score, meaning)
    return {meaning: score for score, meaning in best.values()}


def _continued(state: Partial, meaning: Meaning, words: Sequence[str], at: int) -> Iterator[tuple[Partial, float]]:
    """The states after a word of this meaning, each with a log-probability in addition to that of the meaning."""
    kind, value = meaning
    last = state.groups[-1] if state.groups else None
    begun = state.number is not None or state.colour is not None  # of the next object
    if kind == "nothing":
        yield state._replace(can_begin_object=state.can_begin_object or words[at] in BOUNDARIES), 0.0
    elif kind == "object" and state.can_begin_object and len(state.groups) < 2:
        draft = Draft(value, state.colour, state.number or 1, state.place)
        yield Partial((*state.groups, draft), can_begin_object=False), 0.0
    elif kind == "number":
        if state.number is None:
            yield state._replace(number=int(value), can_begin_object=True), 0.0
        if last is not None and last.number == 1 and not begun:
            yield _changed(state, number=int(value)), LATE
    elif kind == "colour":
        if state.colour is None:
            yield state._replace(colour=value), 0.0
        if last is not None and last.colour is None and not begun:
            yield _changed(state, colour=value), LATE
    elif kind == "place":
        if last is None and state.place is None:  # "left of the car is a cat": the car comes first, and is not left
            related = words[at] in RELATIONS or words[at + 1 : at + 2] in (["of"], ["from"])
            yield state._replace(place=OPPOSITE[value] if related else value), 0.0
        elif last is not None and last.place in (None, value):
            yield _changed(state, place=value)._replace(can_begin_object=True), 0.0


def _changed(state: Partial, **values: Any) -> Partial:
    """The state with its last object changed."""
    return state._replace(groups=(*state.groups[:-1], state.groups[-1]._replace(**values)))


def _finished(state: Partial) -> Scene | None:
    """The scene of a whole reading; None if something is left over, or it is no valid scene."""
    groups = state.groups
    if not groups or (state.number, state.colour, state.place) != (None, None, None):
        return None
    if len(groups) == 2 and sum(group.place is None for group in groups) == 1:
        first, second = (group.place for group in groups)
        places = (first or OPPOSITE[str(second)], second or OPPOSITE[str(first)])
        groups = tuple(group._replace(place=place) for group, place in zip(groups, places, strict=True))
    try:
        return Scene(tuple(Group(*draft) for draft in groups))
    except UsageError:
        return None
