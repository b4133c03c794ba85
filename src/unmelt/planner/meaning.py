"""What a word of a prompt can mean in a scene, and the words that say it literally."""

import re
import unicodedata
from typing import Final, Literal, NamedTuple, TypeAlias

from unmelt.scene import COLOURS, OBJECTS, PLACES

Kind: TypeAlias = Literal["object", "colour", "number", "place", "nothing"]


class Meaning(NamedTuple):
    """What a word says of a scene.

    Args:
        kind: Which slot of a plan it fills.
        value: With what, in the words of plans; "" for nothing.
    """

    kind: Kind
    value: str


NOTHING: Final = Meaning("nothing", "")

IGNORED: Final[dict[str, float]] = {"object": -9.0, "number": -7.0, "colour": -8.0, "place": -6.0, "nothing": 0.0}
"""Log-probability that a literal word means nothing after all, where no reading is valid otherwise."""

NUMBERS: Final = {"one": "1", "two": "2", "three": "3"}

SETS: Final = {"pair": "2"}
"""Numbers by words for so many objects."""

SIDES: Final = {each: each for each in PLACES} | {
    "west": "left",
    "east": "right",
    "north": "top",
    "south": "bottom",
    "upper": "top",
    "lower": "bottom",
    "high": "top",
    "low": "bottom",
}
"""Places by the words for them. Such words are few, and a small language model does not tell west from east."""

RELATIONS: Final = {
    "above": "top",
    "higher": "top",
    "over": "top",
    "atop": "top",
    "below": "bottom",
    "under": "bottom",
    "beneath": "bottom",
    "underneath": "bottom",
}
"""Words between two objects that say where the first one is."""

BOUNDARIES: Final = frozenset(
    (
        *("a", "an", "the", "and", "plus", "while", "is", "are", ",", ";", "."),
        *("with", "by", "beside", "near", "next", "to", "in", "on", "at", "of", "from"),
    )
)
"""Words between two objects. Two names in a row are those of one object."""

FILLERS: Final = frozenset(
    (
        *("side", "half", "part", "edge", "hand", "up", "down", "color", "colored", "colour", "coloured"),
        *("picture", "image", "photo", "drawing", "painting", "scene", "nothing", "else"),
        *("draw", "paint", "show", "make", "give", "create", "generate", "render", "depict", "sketch", "put", "place"),
        *("please", "want", "like", "see", "look", "need", "have", "has", "having", "stand", "stands", "sit", "sits"),
        *(
            "i",
            "me",
            "my",
            "we",
            "us",
            "you",
            "your",
            "it",
            "its",
            "he",
            "she",
            "they",
            "them",
            "this",
            "that",
            "these",
        ),
        *(
            "can",
            "could",
            "would",
            "should",
            "will",
            "shall",
            "may",
            "might",
            "must",
            "do",
            "does",
            "be",
            "was",
            "were",
        ),
        *(
            "there",
            "here",
            "where",
            "which",
            "what",
            "who",
            "than",
            "then",
            "so",
            "as",
            "for",
            "or",
            "but",
            "not",
            "no",
        ),
        *("just", "only", "very", "some", "any", "each", "other", "another", "too", "also", "all"),
    )
)
"""Other words that say nothing of a scene by themselves: requests and function words, which are a closed class."""

WORD = re.compile(r"[^\W\d_]{1,40}|\d{1,40}|[,;.]")


def words_of(prompt: str) -> list[str]:
    """The words of a prompt.

    Args:
        prompt: The prompt.

    Returns:
        Words, numbers and the marks that separate objects, in small letters. Characters of other widths and ligatures
        are read as the plain ones.
    """
    return WORD.findall(unicodedata.normalize("NFKC", prompt).lower())


def singular(word: str) -> str:
    """A word without the ending of its plural.

    Args:
        word: A word in small letters.

    Returns:
        The word as it is, if it has no such ending.
    """
    if len(word) < 4 or not word.endswith("s") or word.endswith("ss"):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(("ches", "shes", "xes", "sses")) else word[:-1]


def literal(word: str) -> Meaning | None:
    """What a word means that stands for itself.

    Args:
        word: A word in small letters.

    Returns:
        Its meaning; None if it is no word of the vocabulary.
    """
    if singular(word) in OBJECTS:
        return Meaning("object", singular(word))
    if word in COLOURS:
        return Meaning("colour", word)
    if word in NUMBERS or word in NUMBERS.values() or word in SETS:
        return Meaning("number", (NUMBERS | SETS).get(word, word))
    if word in SIDES or word in RELATIONS:
        return Meaning("place", (SIDES | RELATIONS)[word])
    return NOTHING if word in BOUNDARIES or word in FILLERS or word.isdigit() else None
