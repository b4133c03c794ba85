"""What the terminal is shown: names from outside are made harmless, and messages go to standard error.

The names of files, classes and captions come from other people. Written as they are, a control character in one could
move the cursor, recolour the screen or forge a line, and a bidirectional override could reverse what is read.
"""

import sys
import unicodedata

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of what has no picture of its own: controls, marks of direction, halves of pairs, line breaks."""

JOINERS = "\u200c\u200d"
"""Invisible, but part of how words in several scripts are written."""


def printable(text: str, keep: str = "") -> str:
    """Write characters that have no picture of their own as escapes: the escape character becomes a backslash and x1b.

    Args:
        text: Any text.
        keep: Characters that stay as they are, such as line breaks.

    Returns:
        The text with its invisible characters escaped.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in HIDDEN and character not in keep and character not in JOINERS
        else character
        for character in text
    )


def notify(*lines: str) -> None:
    """Print a message to standard error, each line with its invisible characters escaped and without markup.

    Args:
        lines: The lines of the message.
    """
    # A terminal that cannot show a character is shown its escape: a message must not end the program.
    coding = getattr(sys.stderr, "encoding", None) or "utf-8"
    for line in lines:
        shown = printable(line).encode(coding, "backslashreplace").decode(coding)
        print(shown, file=sys.stderr, flush=True)
