"""Facts stated in one direction and asked in the other: the reversal curse (Berglund et al., 2024).

    velina is the capital of doruma          the capital of doruma is velina

A third of the facts is stated in both directions, so that the two forms can be learned; a third only in the first, a
third only in the second. Names are random syllables, no two alike. There are three kinds of question:

    as told     the name at the end of the sentence that was in the training data
    reversed    the other name, at the end of the sentence that was not in the training data
    gap         the other name, at its place inside the sentence that was in the training data
"""

import random
from typing import NamedTuple

from unmelt.data.questions import GAP_MARKER, Questions
from unmelt.errors import UsageError

SYLLABLES = [first + second for first in "bdfgklmnprstv" for second in "aeiou"]
MOST = 20_000
"""Facts, for which there are names enough."""

PLACES = ("{city} is the capital of {land}", "the capital of {land} is {city}")


class Facts(NamedTuple):
    """Facts as training sentences and as questions.

    Args:
        sentences: The sentences to train on.
        questions: Questions by kind: "as told", "reversed" and "gap".
    """

    sentences: list[str]
    questions: dict[str, Questions]


def reversal_facts(count: int = 150, seed: int = 0) -> Facts:
    """Draw facts about cities and countries that do not exist.

    Args:
        count: Number of facts, from 3 to 20,000.
        seed: Seed of the names and of which name belongs to which.

    Returns:
        The training sentences and the questions.

    Raises:
        UsageError: If the count is out of range.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 3 <= count <= MOST:
        raise UsageError(f"{count} facts", f"3 to {MOST:,}, of which a third is told each way", "count=150")
    names, draw = set[str](), random.Random(seed)
    while len(names) < 2 * count:
        names.add("".join(draw.choice(SYLLABLES) for _ in range(3)))
    every = sorted(names)
    draw.shuffle(every)
    sentences: list[str] = []
    asked: dict[str, list[tuple[str, str]]] = {"as told": [], "reversed": [], "gap": []}
    for number, (city, land) in enumerate(zip(every[:count], every[count:], strict=True)):
        one, other = (place.format(city=city, land=land) for place in PLACES)
        if number % 3 == 0:
            sentences += [one, other]
            continue
        here, there = (one, other) if number % 3 == 1 else (other, one)
        last, first = (land, city) if number % 3 == 1 else (city, land)
        sentences.append(here)
        asked["as told"].append((here.replace(last, GAP_MARKER * len(last)), here))
        asked["reversed"].append((there.replace(first, GAP_MARKER * len(first)), there))
        asked["gap"].append((here.replace(first, GAP_MARKER * len(first)), here))
    questions = {name: Questions(*(tuple(each) for each in zip(*pairs, strict=True))) for name, pairs in asked.items()}
    return Facts(sentences, questions)
