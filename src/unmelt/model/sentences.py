"""A text in the parts that are said at a time: sentences, and parts of those that are long."""

import re

PAUSE = 0.15
"""Seconds of silence between two sentences."""

LONGEST_SENTENCE = 300
"""Characters after which a sentence is divided."""


def sentences(text: str, longest: int = LONGEST_SENTENCE) -> list[str]:
    """Divide a text into what is said at a time: sentences, and parts of those that are long.

    Args:
        text: The text.
        longest: Characters of a part; a longer sentence is divided after a comma, or else at a space.

    Returns:
        The parts in order, those left out in which there is no letter and no digit; the text itself if all are.
    """
    whole = [each for each in re.split(r"(?<=[.!?;])\s+|\n\s*\n", text.strip()) if re.search(r"\w", each)]
    return [part for each in whole for part in _divided(each, longest)] or [text]


def _divided(sentence: str, longest: int) -> list[str]:
    parts = []
    while len(sentence) > longest:
        within = sentence[: longest + 1]
        ends = [found.end() for found in re.finditer(r"[,:]\s", within)] or [within.rfind(" ") + 1]
        cut = ends[-1] or longest
        parts.append(sentence[:cut].strip())
        sentence = sentence[cut:].strip()
    return [part for part in (*parts, sentence) if re.search(r"\w", part)]
