"""The error for a mistake in what the user gave."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """A mistake in what the user gave. The message says what was given, what is needed, and a call that works.

    The command line prints the three and exits with code 2; in Python it is a `ValueError` with the same text.

    Args:
        given: A clause that says what was given.
        needed: A clause that says what is needed.
        instead: A corrected call or command; "" for none.
    """

    def __init__(self, given: str, needed: str, instead: str = "") -> None:
        self.given, self.needed, self.instead = given, needed, instead
        super().__init__(f"{given}; {needed}." + (f" Try: {instead}" if instead else ""))


def nearest(word: str, known: Iterable[str]) -> str:
    """The valid word most similar to a misspelt one.

    Args:
        word: The word that was given.
        known: The valid words, at least one.

    Returns:
        The closest match; the first valid word if none is close.
    """
    known = list(known)
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return matches[0] if matches else known[0]
