"""Texts as a picture: one below the other, each with a label where there are labels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from unmelt.errors import UsageError
from unmelt.picture.style import FAINT, INK, PAPER, finish, font, name
from unmelt.terminal import printable

_SIZE, _LINE, _MARGIN, _GAP = 13, 18, 16, 10


def texts(
    pieces: Sequence[str], labels: Sequence[str] = (), columns: int = 88, path: str | Path | None = None
) -> Image.Image:
    """Draw texts below one another, separated by lines.

    Args:
        pieces: The texts. Their line breaks are kept.
        labels: What stands to the left of each text: a time, for example. Empty for none.
        columns: Characters in a line; longer lines are wrapped.
        path: Where the picture is written as PNG; None writes nothing.

    Returns:
        The picture.

    Raises:
        UsageError: If there are no texts, or not one label for each.
    """
    if not pieces or (labels and len(labels) != len(pieces)) or columns < 1:
        raise UsageError(
            f"texts was given {len(pieces)} texts, {len(labels)} labels, columns={columns}",
            "at least one text, one label for each or none, and at least 1 column",
            'texts(["a text"], labels=["t = 0.00"])',
        )
    labels = [name(label) for label in labels]
    wrapped = [_lines(piece, columns) for piece in pieces]
    letters = font(_SIZE)
    left = _MARGIN + max((round(letters.getlength(label)) + _GAP for label in labels), default=0)
    width = left + max(round(letters.getlength(line)) for lines in wrapped for line in lines) + _MARGIN
    height = 2 * _MARGIN + sum(_LINE * len(lines) for lines in wrapped) + 2 * _GAP * (len(wrapped) - 1)
    page = Image.new("RGB", (width, height), PAPER)
    pen, top = ImageDraw.Draw(page), _MARGIN
    for number, lines in enumerate(wrapped):
        if number:
            pen.line([(_MARGIN, top + _GAP), (width - _MARGIN, top + _GAP)], fill=FAINT)
            top += 2 * _GAP
        if labels:
            pen.text((_MARGIN, top), labels[number], fill=FAINT, font=letters)
        for line in lines:
            pen.text((left, top), line, fill=INK, font=letters)
            top += _LINE
    return finish(page, path)


def _lines(piece: str, columns: int) -> list[str]:
    """At least one line, without tabs, which have no picture."""
    lines = printable(piece.expandtabs(4), keep="\n").split("\n")
    return [part for line in lines for part in textwrap.wrap(line, columns, drop_whitespace=False) or [""]]
