"""What data a run learned from: enough of them to recognise the same data, and to say what is different.

The identity of a source is its number of rows, their shape, the classes in the order of their labels, and digests of
the content of all rows in order, of the labels and of the captions. A source that does not know its content, such as an
endless one, has an identity of shape and classes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from unmelt.data.source import Source
from unmelt.data.split import digest

NAMES = {"training": "training data", "held_out": "held-out data"}


def identity(source: Source | None) -> dict[str, Any] | None:
    """The identity of a source, as JSON can hold it.

    A source of one's own may have a method `identity` that returns what distinguishes its content.

    Args:
        source: The source. One that wraps another as its attribute `source` has the content of that one.

    Returns:
        Values by name; None for no source.
    """
    if source is None:
        return None
    about: dict[str, Any] = {"shape": list(source.shape), "classes": list(source.classes)}
    inner: Any = source
    while inner is not None and not hasattr(inner, "identity"):
        if dataclasses.is_dataclass(inner):
            return about | {"contents": digest(repr(inner).encode())}
        inner = getattr(inner, "source", None)
    return about if inner is None else about | inner.identity()


def differences(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None, name: str) -> list[str]:
    """Say how the identities of two sources differ.

    Args:
        before: The identity that a run recorded.
        now: The identity of the data at hand.
        name: Whose identities they are: "training" or "held_out".

    Returns:
        A clause for each difference; none for the same data.
    """
    what = NAMES[name]
    if not before or not now:
        return (
            []
            if bool(before) == bool(now)
            else [f"there are {what} {'there, none here' if before else 'here, none there'}"]
        )
    found = []
    for field, value in now.items():
        if field not in before or before[field] == value:
            continue
        if field in ("contents", "labels", "captions"):
            found.append(f"the {field} of the {what} are others")
        else:
            found.append(f"the {what} have {field} {_brief(before[field])} there, {_brief(value)} here")
    return found


def _brief(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 12:
        return f"{', '.join(map(str, value[:12]))} ... ({len(value)})"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
