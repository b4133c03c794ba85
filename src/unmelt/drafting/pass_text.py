"""The text of each pass: what was accepted, the verifier's own token, and what was cut.

A token may be part of a character. Text is given out once it is whole, by the pass that completes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from unmelt.drafting.passes import Pass

BROKEN = "\ufffd"
"""What part of a character is decoded to."""


class PassText(NamedTuple):
    """The text of one pass.

    Args:
        accepted: Text of the accepted tokens.
        own: Text of the verifier's own token after them.
        rejected: Text that was drafted in its place and cut.
    """

    accepted: str
    own: str
    rejected: str


def pass_texts(decode: Callable[[list[int]], str], prompt: Sequence[int], found: Iterable[Pass]) -> Iterator[PassText]:
    """Decode passes.

    Args:
        decode: Makes text of tokens.
        prompt: Tokens before the first pass.
        found: The passes in order.

    Yields:
        The text of each pass. `accepted` and `own` of all passes together are what follows the prompt.
    """
    tokens = list(prompt)
    sent = len(decode(tokens).rstrip(BROKEN))
    for each in found:
        before = [*tokens, *each.written[: each.accepted]]
        accepted = decode(before).rstrip(BROKEN)
        cut = decode([*tokens, *each.drafted]) if each.rejected else ""
        tokens += each.written
        whole = decode(tokens).rstrip(BROKEN)
        yield PassText(accepted[sent:], whole[max(sent, len(accepted)) :], cut[len(accepted) :])
        sent = max(sent, len(whole))
    rest = decode(tokens)[sent:]
    if rest:
        yield PassText("", rest, "")


def marked(found: Iterable[PassText], cut: tuple[str, str] = ("[-", "-]")) -> str:
    """One text with what was cut between marks, and accepted text as it is.

    Args:
        found: Texts of passes.
        cut: The marks.

    Returns:
        The text.
    """
    open_, close = cut
    return "".join(
        each.accepted + (f"{open_}{each.rejected}{close}" if each.rejected else "") + each.own for each in found
    )
