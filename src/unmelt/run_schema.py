"""The kinds of the values in a run folder's config.json: whoever can compute its digest can write anything there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unmelt.errors import UsageError

DEEPEST = 64
"""Deepest nesting of lists and objects, which recursion can read."""

WHOLE = "the file as it was saved", "a copy of it, or training again"


def check_depth(path: Path, about: Any) -> None:
    """Refuse lists and objects that are nested deeper than those of any model.

    Args:
        path: The file, for the message.
        about: Its content.

    Raises:
        UsageError: If they are.
    """
    level = [about]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
        ]
    if level:
        raise UsageError(f"{path} does not describe a model (it is nested more than {DEEPEST} deep)", *WHOLE)


def check_kinds(path: Path, about: Mapping[str, Any]) -> None:
    """Refuse a value of another kind than this library writes.

    Args:
        path: The file, for the message.
        about: Its content.

    Raises:
        UsageError: If there is one, or a value is missing; names it.
    """
    for name, is_right in REQUIRED.items():
        if name not in about or not is_right(about[name]):
            _refuse(path, name, about)
    for name, is_right in OPTIONAL.items():
        if name in about and not is_right(about[name]):
            _refuse(path, name, about)


def _refuse(path: Path, name: str, about: Mapping[str, Any]) -> None:
    said = f"{name} is {about[name]!r}"[:80] if name in about else f"it has no {name}"
    raise UsageError(f"{path} does not describe a model ({said})", *WHOLE)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _objects(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, dict | None) for each in value.values())


def _origin(value: Any) -> bool:
    known = isinstance(value, dict) and isinstance(value.get("recipe", ""), str)
    return known and isinstance(value.get("settings", {}), dict)


def _model(value: Any) -> bool:
    training = (value.get("training") or {"steps": 0}) if isinstance(value, dict) else None
    return isinstance(training, dict) and _count(training.get("steps"))


REQUIRED = {
    "facade": _text,
    "origin": _origin,
    "notes": _text,
    "classes": _texts,
    "steps_done": _count,
    "parameters": _count,
    "model": _model,
    "weights": _text,
}
"""Values that every config.json has, and whether one is of the right kind."""

OPTIONAL = {
    "main": _text,
    "run": _text,
    "data": lambda value: value is None or _objects(value),
    "tuned": lambda value: isinstance(value, list),
    "adapters": _objects,
    "controls": _objects,
    "active_adapter": lambda value: value is None or _text(value),
    "modules": lambda value: isinstance(value, dict) and all(map(_text, value.values())),
}
"""Values that older versions did not write."""
