"""Text as files hold it: UTF-8 with or without a byte-order mark, JSON, and JSON lines.

JSON lines end with a line feed and nothing else: U+2028, U+2029 and U+0085 may stand within a string, and
`str.splitlines` would cut there (https://jsonlines.org).
"""

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of the text after them, and so what a line seems to say."""


def decoded(content: bytes, errors: str = "strict") -> str:
    """Decode UTF-8; a byte-order mark is no part of the text.

    Args:
        content: The bytes.
        errors: What becomes of bytes that are not UTF-8, as for `bytes.decode`.

    Returns:
        The text.

    Raises:
        UnicodeDecodeError: If it is not UTF-8 and `errors` is "strict".
    """
    return content.decode("utf-8-sig", errors)


def parsed(content: bytes | str) -> Any:
    """Parse JSON that anybody may have written.

    Args:
        content: The JSON, as text or in UTF-8.

    Returns:
        Its value. Strings may hold halves of surrogate pairs, which JSON can express and UTF-8 cannot.

    Raises:
        ValueError: If it is not JSON, is not UTF-8, or is nested too deeply.
    """
    try:
        return json.loads(decoded(content) if isinstance(content, bytes) else content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def json_lines(content: bytes) -> Iterator[tuple[int, Any]]:
    """Parse JSON lines.

    Args:
        content: The lines, in UTF-8; empty ones are passed over.

    Yields:
        (number, value): the number of the line, from 1, and its value; the `ValueError` that `parsed` raised if it has
        none.
    """
    begin, number = (3 if content.startswith(b"\xef\xbb\xbf") else 0), 0
    while begin < len(content):
        end = content.find(b"\n", begin)
        end = len(content) if end < 0 else end
        line, begin, number = content[begin:end], end + 1, number + 1
        if line.strip():
            try:
                value = parsed(line)
            except ValueError as error:
                value = error
            yield number, value


def encodable(text: str) -> str:
    """The text with U+FFFD in place of every half of a surrogate pair, which UTF-8 cannot express.

    Args:
        text: The text.

    Returns:
        The text, which can be written.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def printable(text: str) -> str:
    r"""A name as one line that is safe to print and to write.

    Args:
        text: The name.

    Returns:
        The name with control characters, line separators, changes of direction and halves of surrogate pairs written
        as Python writes them, such as \n: names that differ remain different.
    """
    shown = (
        each.encode("unicode_escape").decode()
        if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or each in BIDIRECTIONAL
        else each
        for each in text
    )
    return "".join(shown)
