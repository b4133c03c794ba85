"""The error for a mistake in what the user gave."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be allocated, on the CPU or on a GPU.

    Args:
        error: Any error.

    Returns:
        True for a MemoryError, and for the errors that torch raises in its place.
    """
    words = ("can't allocate memory", "out of memory", "not enough memory", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(each in str(error) for each in words)
    )


@contextmanager
def enough_memory(needed: str, instead: str = "") -> Iterator[None]:
    """Inside, an error that says that memory could not be allocated becomes a `UsageError`.

    Args:
        needed: What would need less, such as "a smaller width or batch".
        instead: A corrected call; "" for none.

    Yields:
        Nothing.

    Raises:
        UsageError: If there is not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        asked = re.search(r"allocate (\d+) bytes", str(error))
        size = f": {int(asked[1]) / 1e9:,.1f} GB were asked for at once" if asked else ""
        raise UsageError(f"this takes more memory than there is{size}", needed, instead) from None
