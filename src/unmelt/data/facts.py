"""Facts that are told one way round, and asked for the other way: the reversal curse (Berglund et al., 2024).

    velina is the capital of doruma          the capital of doruma is velina

A third of the facts are told both ways, from which the two sentences can be learned; a third only the first way, a
third only the second. Names are made up of syllables, no two alike. What is asked:

    as told     the name at the end of the sentence in which the fact was told
    reversed    the other name, at the end of the sentence in which the fact was never told
    gap         the other name, at its place in the sentence that was told
"""

import random
from typing import NamedTuple

from unmelt.data.questions import GAP, Questions
from unmelt.errors import UsageError

SYLLABLES = [first + second for first in "bdfgklmnprstv" for second in "aeiou"]
MOST = 20_000
"""Facts, for which there are names enough."""

PLACES = ("{city} is the capital of {land}", "the capital of {land} is {city}")


class Facts(NamedTuple):
    told: list[str]
    questions: dict[str, Questions]


def facts(count: int = 150, seed: int = 0) -> Facts:
    """So many facts, as sentences and as questions."""
    if isinstance(count, bool) or not isinstance(count, int) or not 3 <= count <= MOST:
        raise UsageError(f"{count} facts", f"3 to {MOST:,}, of which a third is told each way", "count=150")
    names, draw = set[str](), random.Random(seed)
    while len(names) < 2 * count:
        names.add("".join(draw.choice(SYLLABLES) for _ in range(3)))
    every = sorted(names)
    draw.shuffle(every)
    told: list[str] = []
    asked: dict[str, list[tuple[str, str]]] = {"as told": [], "reversed": [], "gap": []}
    for number, (city, land) in enumerate(zip(every[:count], every[count:], strict=True)):
        one, other = (place.format(city=city, land=land) for place in PLACES)
        if number % 3 == 0:
            told += [one, other]
            continue
        here, there = (one, other) if number % 3 == 1 else (other, one)
        last, first = (land, city) if number % 3 == 1 else (city, land)
        told.append(here)
        asked["as told"].append((here.replace(last, GAP * len(last)), here))
        asked["reversed"].append((there.replace(first, GAP * len(first)), there))
        asked["gap"].append((here.replace(first, GAP * len(first)), here))
    questions = {name: Questions(*(tuple(each) for each in zip(*pairs, strict=True))) for name, pairs in asked.items()}
    return Facts(told, questions)
