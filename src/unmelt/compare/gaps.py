"""Filling gaps in real code: from the text on both sides, or from the text before alone."""

import math
import random
from dataclasses import dataclass
from typing import NamedTuple

from unmelt.compare.quality import is_python, lines
from unmelt.data import GAP_MARKER, Arrays
from unmelt.model import TextModel
from unmelt.model.text_evaluation import GREEDY

Z = 1.96
"""Standard deviations on each side of a 95 % interval."""


class Share(NamedTuple):
    """A share with its 95 % interval (Wilson, 1927).

    Args:
        value: The share.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


def share(right: int, total: int) -> Share:
    """A share with its Wilson interval.

    Args:
        right: Number of successes.
        total: Number of trials.

    Returns:
        The share and its interval.
    """
    p, n = right / max(1, total), max(1, total)
    middle, half = p + Z**2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Share(p, (middle - half) / (1 + Z**2 / n), (middle + half) / (1 + Z**2 / n))


class Gap(NamedTuple):
    """A gap in a text.

    Args:
        before: The text before it.
        answer: The text that belongs in it.
        after: The text after it.
    """

    before: str
    answer: str
    after: str


@dataclass(frozen=True)
class GapScores:
    """How well a model filled gaps.

    Args:
        sees: What the model was shown: "both sides" or "before".
        exact: Share of gaps filled with exactly the original text.
        lines: Share of gaps after whose filling every line that they touch is Python.
    """

    sees: str
    exact: Share
    lines: Share


def gaps(model: TextModel, count: int, tokens: int, seed: int = 0) -> list[Gap]:
    """Cut gaps from the middle of held-out rows, at most one from each row.

    Args:
        model: The model whose held-out rows and tokenizer are used.
        count: Number of gaps.
        tokens: Tokens in each gap. Gaps begin and end at token boundaries.
        seed: Seed of the choice of rows and places.

    Returns:
        At most `count` gaps.
    """
    assert isinstance(model.held_out, Arrays)
    draw, found = random.Random(seed), list[Gap]()
    rows = model.held_out.values.tolist()
    draw.shuffle(rows)
    for row in rows:
        first = draw.randrange(len(row) // 4, 3 * len(row) // 4 - tokens)
        answer = model.tokenizer.decode(row[first : first + tokens])
        cut = [model.tokenizer.decode(part) for part in (row[:first], row[first + tokens :])]
        whole = cut[0] + answer + cut[1]
        if len(model.tokenizer.encode(answer)) == tokens and GAP_MARKER not in whole and "\ufffd" not in whole:
            found.append(Gap(cut[0], answer, cut[1]))
        if len(found) == count:
            break
    return found


def fill_gaps(model: TextModel, found: list[Gap], tokens: int) -> list[GapScores]:
    """Fill gaps with a model and score the result.

    A model that can infill sees both sides, any other only the text before. The number of tokens is given, except to a
    left-to-right model trained to fill in the middle, which ends the middle itself.

    Args:
        model: The model.
        found: The gaps.
        tokens: Tokens in each gap.

    Returns:
        One entry for each setting that was tried.
    """
    if not model.is_causal or model.fills_middle:
        room = tokens if not model.fills_middle else 2 * tokens  # where the middle ends by itself
        asked = [gap.before[-ROOM:] + GAP_MARKER * room + gap.after[:ROOM] for gap in found]
        made = model.infill(asked, temperature=GREEDY, sampler=model.greedy_sampler, steps=model.length)
        middles = [
            text[len(gap.before[-ROOM:]) : len(text) - len(gap.after[:ROOM])]
            for text, gap in zip(made, found, strict=True)
        ]
        return [_scores("both sides", found, middles)]
    middles = []
    for gap in found:
        size = len(model.tokenizer.encode(gap.before))
        before = gap.before if size + tokens <= model.length else gap.before[-ROOM:]
        length = len(model.tokenizer.encode(before)) + tokens
        (text,) = model.sample(1, prompt=before, length=length, temperature=GREEDY)
        middles.append(text[len(before) :])
    return [_scores("before", found, middles)]


ROOM = 300
"""Characters on each side of a gap that every model is shown."""


def _scores(sees: str, found: list[Gap], middles: list[str]) -> GapScores:
    exact = sum(middle == gap.answer for middle, gap in zip(middles, found, strict=True))
    good = sum(_is_python(gap, middle) for middle, gap in zip(middles, found, strict=True))
    return GapScores(sees, share(exact, len(found)), share(good, len(found)))


def real_share(found: list[Gap]) -> Share:
    """The share of gaps whose lines are Python with the original text in place.

    Args:
        found: The gaps.

    Returns:
        The share with its interval.
    """
    return share(sum(_is_python(gap, gap.answer) for gap in found), len(found))


def _is_python(gap: Gap, middle: str) -> bool:
    """Whether every line that the gap touches is Python."""
    start = gap.before[gap.before.rfind("\n") + 1 :]
    end = gap.after.split("\n", 1)[0]
    return all(is_python(line) for line in lines(start + middle + end))
