"""Wordings: a scene in English, by a grammar that is small enough to list.

    wording  =  a pattern, with a phrase for each group and the words for its place
    phrase   =  number [colour] noun             "two red stars", "a kitten"

There are two vocabularies, for training and for tests. They share no pattern and no word for an object, a colour, a
number above one, or a place: a test with held-out wordings asks for words that a model was never trained on. No wording
belongs to two scenes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal, TypeAlias, get_args

from unmelt.arguments import checked
from unmelt.errors import UsageError, nearest
from unmelt.rng import Random
from unmelt.scene.choice import choose
from unmelt.scene.scene import Group, Scene

Kind: TypeAlias = Literal["seen", "held_out"]
"""Which wordings: those of training, or those kept for tests."""

Words: TypeAlias = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Vocabulary:
    """Everything that wordings of one kind are made of.

    Args:
        nouns: By object, its names; a plural that is not the name with an s stands after a slash.
        colours: By colour, its names.
        numbers: By number, its words; "a" stands for "a" or "an".
        places: By place, phrases for where a thing stands.
        relations: By place of the first of two groups, what stands between them.
        alone: Patterns for one group, whose phrase is {a}.
        at_place: The same for one group at a place, {at}.
        two: Patterns for two groups, {a} and {b}.
        related: Patterns for two groups at opposite places, {relation}.
        both_placed: The same, with the place of each, {at} and {across}.
    """

    nouns: Words
    colours: Words
    numbers: Mapping[int, tuple[str, ...]]
    places: Words
    relations: Words
    alone: tuple[str, ...]
    at_place: tuple[str, ...]
    two: tuple[str, ...]
    related: tuple[str, ...]
    both_placed: tuple[str, ...]


SEEN: Final = Vocabulary(
    nouns={
        "apple": ("apple",),
        "bird": ("bird",),
        "car": ("car",),
        "cat": ("cat",),
        "cup": ("cup",),
        "fish": ("fish/fish",),
        "flower": ("flower",),
        "heart": ("heart",),
        "house": ("house",),
        "moon": ("moon",),
        "star": ("star",),
        "tree": ("tree",),
    },
    colours={name: (name,) for name in ("red", "orange", "yellow", "green", "blue", "purple")},
    numbers={1: ("a", "one"), 2: ("two", "2", "a pair of"), 3: ("three", "3")},
    places={
        "left": ("on the left", "on the left side"),
        "right": ("on the right", "on the right side"),
        "top": ("at the top", "in the top part"),
        "bottom": ("at the bottom", "in the bottom part"),
    },
    relations={
        "left": ("to the left of", "left of"),
        "right": ("to the right of", "right of"),
        "top": ("above",),
        "bottom": ("below",),
    },
    alone=("{a}", "a picture of {a}", "there {is} {a}", "{a} on a white background", "an image that shows {a}"),
    at_place=("{a} {at}", "a picture of {a} {at}", "{at} there is {a}"),
    two=("{a} and {b}", "a picture of {a} and {b}", "there are {a} and {b}", "{a} with {b}"),
    related=("{a} {relation} {b}", "a picture of {a} {relation} {b}"),
    both_placed=("{a} {at} and {b} {across}", "{at} there is {a}, {across} there is {b}"),
)
"""What a model is trained on."""

HELD_OUT: Final = Vocabulary(
    nouns={
        "apple": ("piece of fruit/pieces of fruit",),
        "bird": ("sparrow", "songbird"),
        "car": ("automobile", "vehicle"),
        "cat": ("kitten", "kitty/kitties"),
        "cup": ("mug", "teacup"),
        "fish": ("trout/trout", "goldfish/goldfish"),
        "flower": ("blossom", "bloom"),
        "heart": ("valentine", "love symbol"),
        "house": ("cottage", "home"),
        "moon": ("crescent", "lunar crescent"),
        "star": ("pentagram", "five-pointed shape"),
        "tree": ("pine", "spruce"),
    },
    colours={
        "red": ("crimson", "scarlet"),
        "orange": ("tangerine", "amber"),
        "yellow": ("golden", "lemon"),
        "green": ("emerald", "jade"),
        "blue": ("azure", "sapphire"),
        "purple": ("violet", "lilac"),
    },
    numbers={1: ("a", "a single"), 2: ("a couple of", "twin"), 3: ("a trio of", "a threesome of")},
    places={
        "left": ("on the west side", "at the left-hand edge"),
        "right": ("on the east side", "at the right-hand edge"),
        "top": ("in the upper half", "up high"),
        "bottom": ("in the lower half", "down low"),
    },
    relations={
        "left": ("to the left-hand side of", "west of"),
        "right": ("to the right-hand side of", "east of"),
        "top": ("over", "higher up than"),
        "bottom": ("beneath", "underneath"),
    },
    alone=("draw {a}", "I would like to see {a}", "please paint {a}", "can you show me {a}?", "just {a}, nothing else"),
    at_place=("draw {a} {at}", "please put {a} {at}", "{at}, paint {a}"),
    two=("both {a} and {b}", "draw {a} together with {b}", "{a} alongside {b}", "{a} plus {b}"),
    related=("draw {a} {relation} {b}", "I would like to see {a} {relation} {b}"),
    both_placed=("{at}, paint {a}, and {across}, {b}", "{a} stands {at}, while {b} stands {across}"),
)
"""What is kept for tests."""


@checked("um.scene.wordings")
def wordings(scene: Scene, kind: Kind = "seen") -> list[str]:
    """List all wordings of a scene.

    Args:
        scene: The scene.
        kind: "seen" for those of training, "held_out" for those kept for tests.

    Returns:
        The wordings, each once.

    Raises:
        UsageError: If there is no such kind.
    """
    forms = _forms(scene, _vocabulary(kind))
    return [form.written(number) for form in forms for number in range(len(form))]


@checked("um.scene.word")
def word(scene: Scene, rng: Random, kind: Kind = "seen") -> str:
    """Choose one of the wordings of a scene.

    Args:
        scene: The scene.
        rng: Source of randomness.
        kind: "seen" for those of training, "held_out" for those kept for tests.

    Returns:
        The wording.

    Raises:
        UsageError: If there is no such kind.
    """
    forms = _forms(scene, _vocabulary(kind))
    number = choose(range(sum(map(len, forms))), rng)
    for form in forms:
        if number < len(form):
            break
        number -= len(form)
    return form.written(number)


@dataclass(frozen=True)
class _Form:
    """Wordings that are all combinations of some choices, numbered from 0.

    Args:
        patterns: The first choice.
        choices: The others: for each, the fields of a pattern that every option fills.
    """

    patterns: Sequence[str]
    choices: Sequence[Sequence[Mapping[str, str]]]

    def __len__(self) -> int:
        return len(self.patterns) * math.prod(map(len, self.choices))

    def written(self, number: int) -> str:
        fields: dict[str, str] = {}
        for options in self.choices:
            number, chosen = divmod(number, len(options))
            fields |= options[chosen]
        return self.patterns[number].format(**fields)


def _forms(scene: Scene, words: Vocabulary) -> list[_Form]:
    first, *others = scene.groups
    a, place = _phrases("a", first, words), first.place
    if not others:
        if place is not None:
            return [_Form(words.at_place, [a, [{"at": each} for each in words.places[place]]])]
        return [_Form(words.alone, [a, [{"is": "are" if first.number > 1 else "is"}]])]
    b, across = _phrases("b", others[0], words), others[0].place
    if place is None or across is None:
        return [_Form(words.two, [a, b])]
    placed = zip(words.places[place], words.places[across], strict=True)
    return [
        _Form(words.related, [a, b, [{"relation": each} for each in words.relations[place]]]),
        _Form(words.both_placed, [a, b, [{"at": at, "across": there} for at, there in placed]]),
    ]


def _vocabulary(kind: str) -> Vocabulary:
    if kind not in get_args(Kind):
        raise UsageError(f"kind={kind!r}", "seen or held_out", f'kind="{nearest(kind, get_args(Kind)) or "seen"}"')
    return SEEN if kind == "seen" else HELD_OUT


def _phrases(field: str, group: Group, words: Vocabulary) -> list[Mapping[str, str]]:
    """All that a group may be called, each as the field of a pattern."""
    colours = ("",) if group.colour is None else words.colours[group.colour]
    return [
        {field: _phrase(number, colour, noun, group.number > 1)}
        for number, colour, noun in product(words.numbers[group.number], colours, words.nouns[group.object])
    ]


def _phrase(number: str, colour: str, noun: str, several: bool) -> str:
    one, _, many = noun.partition("/")
    rest = " ".join(filter(None, (colour, (many or f"{one}s") if several else one)))
    return f"{'an' if number == 'a' and rest[0] in 'aeiou' else number} {rest}"
