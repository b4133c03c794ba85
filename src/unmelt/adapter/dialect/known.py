"""The dialects, and which of them a file is written in."""

from collections.abc import Iterable

from unmelt.adapter.dialect import ai_toolkit, diffusers, flux, kohya, one_trainer, peft
from unmelt.adapter.dialect.place import Dialect
from unmelt.errors import UsageError

DIALECTS: tuple[Dialect, ...] = (
    one_trainer.DIALECT,
    flux.DIALECT,
    peft.DIALECT,
    kohya.DIALECT,
    ai_toolkit.DIALECT,
    diffusers.DIALECT,
)
"""The more particular ones first."""


def detect(keys: Iterable[str], what: str = "the file") -> Dialect:
    """Find the dialect of a file.

    Args:
        keys: The keys of its tensors.
        what: What to call the file in the message.

    Returns:
        The first dialect that recognises them.

    Raises:
        UsageError: If none does.
    """
    keys = list(keys)
    for dialect in DIALECTS:
        if dialect.recognises(keys):
            return dialect
    shown = ", ".join(map(repr, keys[:3]))
    names = ", ".join(each.name for each in DIALECTS)
    raise UsageError(f"{what} with {len(keys)} keys such as {shown}", f"an adapter as one of these writes it: {names}")
