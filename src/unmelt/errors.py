"""What a person is told when something they gave cannot work."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """A mistake in what was given: says what it was, what is needed, and a call that works.

    `given` and `needed` are whole clauses; `instead` is a corrected call or command. The command line
    prints the three and exits with code 2; in Python it is a `ValueError` with the same words.
    """

    def __init__(self, given: str, needed: str, instead: str = "") -> None:
        self.given, self.needed, self.instead = given, needed, instead
        super().__init__(f"{given}; {needed}." + (f" Try: {instead}" if instead else ""))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was probably meant to be, or the first of them."""
    known = list(known)
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return found[0] if found else known[0]
