"""Output of the command line: messages go to standard error, results to standard output."""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from unmelt.terminal import printable

UNDRAWN = "\u2588"
"""A character that terminals without Unicode cannot show."""


def tolerate_encodings() -> None:
    """Write escapes for characters that standard output or standard error cannot encode, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def draws_blocks() -> bool:
    """Whether standard output can show block characters."""
    try:
        UNDRAWN.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def close_quietly() -> None:
    """Drop what is left to write, after the reader of standard output has gone."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return  # standard output is no file


def plain_number(value: Any) -> Any:
    """Replace numbers that are not finite by None, which JSON can hold.

    Args:
        value: Any value that JSON can hold, or has such numbers in it.

    Returns:
        The value for JSON.
    """
    if isinstance(value, Mapping):
        return {key: plain_number(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_number(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(value: Any) -> None:
    """Print a value as JSON to standard output; numbers that are not finite become null.

    Args:
        value: What to print.
    """
    print(json.dumps(plain_number(value), indent=2, allow_nan=False), flush=True)


def print_text(text: str, exactly: bool = False) -> None:
    """Print a text to standard output: as it is to a file or a pipe, without control characters to a terminal.

    Args:
        text: The text.
        exactly: Whether a file or a pipe gets the text's bytes in UTF-8 and nothing more, without a line end added.
    """
    buffer = getattr(sys.stdout, "buffer", None)
    if sys.stdout.isatty():
        print(printable(text, keep="\n\t"), flush=True)
    elif exactly and buffer is not None:
        sys.stdout.flush()
        buffer.write(text.encode())
        buffer.flush()
    else:
        print(text, end="" if exactly else "\n", flush=True)
