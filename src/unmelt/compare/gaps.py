"""Gaps in real code, filled: by what stands before and after, or by what stands before alone."""

import math
import random
from dataclasses import dataclass
from typing import NamedTuple

from unmelt.compare.quality import is_python, lines
from unmelt.data import GAP, Arrays
from unmelt.model import TextModel
from unmelt.model.text_evaluation import GREEDY

Z = 1.96
"""Standard deviations on each side of 95 of 100."""


class Share(NamedTuple):
    """A share and its 95 % interval (Wilson, 1927)."""

    value: float
    low: float
    high: float


def share(right: int, of: int) -> Share:
    p, n = right / max(1, of), max(1, of)
    middle, half = p + Z**2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Share(p, (middle - half) / (1 + Z**2 / n), (middle + half) / (1 + Z**2 / n))


class Gap(NamedTuple):
    before: str
    answer: str
    after: str


@dataclass(frozen=True)
class Filled:
    """exact   the share of gaps filled with what stood there; lines: of those whose lines are then Python"""

    sees: str
    exact: Share
    lines: Share


def gaps(model: TextModel, count: int, tokens: int, seed: int = 0) -> list[Gap]:
    """Of held-out rows, one for each: so many tokens from the middle of a row, beginning and ending as tokens do."""
    assert isinstance(model.held_out, Arrays)
    draw, found = random.Random(seed), list[Gap]()
    rows = model.held_out.values.tolist()
    draw.shuffle(rows)
    for row in rows:
        first = draw.randrange(len(row) // 4, 3 * len(row) // 4 - tokens)
        answer = model.tokenizer.decode(row[first : first + tokens])
        cut = [model.tokenizer.decode(part) for part in (row[:first], row[first + tokens :])]
        whole = cut[0] + answer + cut[1]
        if len(model.tokenizer.encode(answer)) == tokens and GAP not in whole and "\ufffd" not in whole:
            found.append(Gap(cut[0], answer, cut[1]))
        if len(found) == count:
            break
    return found


def filled(model: TextModel, found: list[Gap], tokens: int) -> list[Filled]:
    """As this model can: seeing both sides if it can, else only what comes before. All but one that was taught to end a
    middle are told how many tokens."""
    if not model.is_causal or model.fills_middle:
        room = tokens if not model.fills_middle else 2 * tokens  # where the middle ends by itself
        asked = [gap.before[-ROOM:] + GAP * room + gap.after[:ROOM] for gap in found]
        made = model.infill(asked, temperature=GREEDY, sampler=model.greedy_sampler, steps=model.length)
        middles = [
            text[len(gap.before[-ROOM:]) : len(text) - len(gap.after[:ROOM])]
            for text, gap in zip(made, found, strict=True)
        ]
        return [_judged("both sides", found, middles)]
    middles = []
    for gap in found:
        size = len(model.tokenizer.encode(gap.before))
        before = gap.before if size + tokens <= model.length else gap.before[-ROOM:]
        length = len(model.tokenizer.encode(before)) + tokens
        (text,) = model.sample(1, prompt=before, length=length, temperature=GREEDY)
        middles.append(text[len(before) :])
    return [_judged("before", found, middles)]


ROOM = 300
"""Letters on each side that every model is shown."""


def _judged(sees: str, found: list[Gap], middles: list[str]) -> Filled:
    exact = sum(middle == gap.answer for middle, gap in zip(middles, found, strict=True))
    good = sum(_is_python(gap, middle) for middle, gap in zip(middles, found, strict=True))
    return Filled(sees, share(exact, len(found)), share(good, len(found)))


def real(found: list[Gap]) -> Share:
    """The share of gaps whose lines are Python as they really stand."""
    return share(sum(_is_python(gap, gap.answer) for gap in found), len(found))


def _is_python(gap: Gap, middle: str) -> bool:
    """Whether every line is that the gap touches."""
    start = gap.before[gap.before.rfind("\n") + 1 :]
    end = gap.after.split("\n", 1)[0]
    return all(is_python(line) for line in lines(start + middle + end))
