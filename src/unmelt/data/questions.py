"""Texts with gaps, and what they should read once the gaps are filled: what a model of text can be asked."""

from typing import NamedTuple

GAP = "░"
"""Stands for one token that is not known."""


class Questions(NamedTuple):
    """asked    texts, each with a `GAP` for every token that is to be found
    answers   the same texts, whole
    """

    asked: tuple[str, ...]
    answers: tuple[str, ...]
