"""Infilling questions: texts with gaps, and the same texts with the gaps filled."""

from typing import NamedTuple

GAP_MARKER = "░"
"""Stands for one token that is not known."""


class Questions(NamedTuple):
    """Texts with gaps and the correct answers.

    Args:
        asked: Texts with one `GAP_MARKER` for every token to be filled in.
        answers: The same texts without gaps.
    """

    asked: tuple[str, ...]
    answers: tuple[str, ...]
