"""Text that is being generated, as HTML: its tokens, the newest of them, and the masks that are left.

A token is drawn as its letters and a mask as a shaded block. New tokens are marked by colour and by weight, so that
they can be told apart without colour.
"""

from collections.abc import Sequence
from html import escape

from unmelt.errors import UsageError

MASK = "\u2591"
"""How a mask is drawn: a shaded block."""

_STYLES = {
    "masked": "opacity:.45",
    "new": "background:#56b4e955;font-weight:700;border-radius:3px",
    "given": "text-decoration:underline;text-decoration-color:#e69f00;text-decoration-thickness:2px",
    "stands": "",
}


def writing(
    pieces: Sequence[str],
    masked: Sequence[bool],
    new: Sequence[bool] | None = None,
    given: Sequence[bool] | None = None,
    alt: str = "text",
) -> str:
    """Write one text as HTML.

    Args:
        pieces: The letters of each token; those of masked tokens are not shown.
        masked: Whether each token is masked.
        new: Whether each token was written in the last step; None for none.
        given: Whether each token was known from the start; None for none.
        alt: What the text is, for screen readers.

    Returns:
        The HTML.

    Raises:
        UsageError: If the sequences differ in length.
    """
    count = len(pieces)
    new, given = ([False] * count if each is None else each for each in (new, given))
    if not (len(masked) == len(new) == len(given) == count):
        raise UsageError(
            f"{count} pieces, of which {len(masked)} are said to be masked or not", "one for each", "masked=[...]"
        )
    kinds = [
        "masked" if hidden else "new" if fresh else "given" if known else "stands"
        for hidden, fresh, known in zip(masked, new, given, strict=True)
    ]
    spans, run = [], ""
    for at, (piece, kind) in enumerate(zip(pieces, kinds, strict=True)):
        run += MASK if kind == "masked" else piece
        if at + 1 == count or kinds[at + 1] != kind:
            spans.append(f'<span data-kind="{kind}" style="{_STYLES[kind]}">{escape(run)}</span>')
            run = ""
    said = "".join("_" if hidden else piece for piece, hidden in zip(pieces, masked, strict=True))
    style = "white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font-size:.85rem;line-height:1.45"
    return f'<pre role="img" aria-label="{escape(alt)}: {escape(said)}" style="{style}">{"".join(spans)}</pre>'
