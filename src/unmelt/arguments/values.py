"""Whether a value is what an annotation asks for, and the same value in plain Python.

Numbers of numpy and tensors of no dimension count as the numbers they hold, arrays of numpy as tensors. A whole number
is never a boolean, and never a float. Annotations that are not understood here (functions, classes of others) accept
everything: what takes them checks them itself.
"""

import types
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, Union, get_args, get_origin

import numpy as np
import torch
from torch import Tensor

MISMATCH: Final = object()
"""What `converted` returns of a value that the annotation does not allow."""

Hint: TypeAlias = Any
"""A resolved annotation."""

WORDS: dict[Hint, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a string",
    Path: "a path",
    type(None): "None",
    None: "None",
}
"""What the plain annotations ask for, in words."""


@cache
def alternatives(hint: Hint) -> tuple[Hint, ...]:
    """The members of a union, or the annotation alone.

    Args:
        hint: The annotation.

    Returns:
        Its members.
    """
    is_union = get_origin(hint) in (Union, types.UnionType)
    return tuple(one for member in get_args(hint) for one in alternatives(member)) if is_union else (hint,)


@cache
def part_class(hint: Hint) -> type | None:
    """The class of this package that an annotation asks an instance of.

    Args:
        hint: The annotation, not a union.

    Returns:
        The class; None if the annotation is something else, or a protocol that cannot be checked.
    """
    cls = get_origin(hint) or hint
    if not isinstance(cls, type) or cls.__module__.split(".")[0] != "unmelt":
        return None
    unchecked = getattr(cls, "_is_protocol", False) and not getattr(cls, "_is_runtime_protocol", False)
    return None if unchecked else cls


@cache
def number_types(hint: Hint) -> tuple[str, ...] | None:
    """The number types of the tensors that an annotation allows.

    Args:
        hint: The annotation, not a union.

    Returns:
        Names of number types, such as "float32"; () for any; None if the annotation is not of tensors.
    """
    if hint is Tensor:
        return ()
    if getattr(hint, "array_type", None) is not Tensor:
        return None
    return tuple(hint.dtypes) if isinstance(hint.dtypes, list | tuple) else ()


def _tensor(kinds: tuple[str, ...], value: Any) -> Any:
    """A tensor of one of these number types; an array of numpy becomes one."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = torch.as_tensor(value)
    is_allowed = isinstance(value, Tensor) and (not kinds or str(value.dtype).removeprefix("torch.") in kinds)
    return value if is_allowed else MISMATCH


def plain(value: Any) -> Any:
    """Numbers of numpy, and arrays and tensors of up to one dimension, as Python's numbers and lists.

    Args:
        value: Any value.

    Returns:
        The number or the list; any other value as it is.
    """
    dimensions = getattr(value, "ndim", None)
    if isinstance(dimensions, int) and dimensions <= 1 and hasattr(value, "tolist"):
        return value.tolist()
    return value


def converted(hint: Hint, value: Any) -> Any:
    """A value as an annotation asks for it.

    Args:
        hint: The annotation.
        value: What was given.

    Returns:
        The value, its numbers in plain Python; `MISMATCH` if the annotation does not allow it.
    """
    members = alternatives(hint)
    if len(members) > 1:
        is_array = isinstance(value, np.ndarray | Tensor) and value.ndim > 0
        for member in _by_preference(hint, is_array):
            if (found := converted(member, value)) is not MISMATCH:
                return found
        return MISMATCH
    if hint in WORDS:
        return _plain_value(hint, plain(value))
    if hint in (torch.dtype, torch.device):
        return value if isinstance(value, hint) else MISMATCH
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value if any(value == one and type(value) is type(one) for one in inner) else MISMATCH
    if origin in (Sequence, list, tuple) and inner:
        return _sequence(origin, inner, value)
    if (kinds := number_types(hint)) is not None:
        return _tensor(kinds, value)
    cls = part_class(hint)
    if cls is None:
        return value
    return value if isinstance(value, cls) and not isinstance(value, type) else MISMATCH


@cache
def _by_preference(hint: Hint, is_array: bool) -> tuple[Hint, ...]:
    """The members of a union in the order in which a value is tried: of an array, tensors first; what is open, last."""
    return tuple(sorted(alternatives(hint), key=lambda one: (_is_open(one), is_array and number_types(one) is None)))


@cache
def _is_open(hint: Hint) -> bool:
    """Whether an annotation accepts everything here."""
    is_plain = (
        hint in WORDS or hint in (torch.dtype, torch.device) or get_origin(hint) in (Literal, Sequence, list, tuple)
    )
    return not is_plain and number_types(hint) is None and part_class(hint) is None


def _plain_value(hint: Hint, value: Any) -> Any:
    """One number, string, path or None."""
    if hint in (None, type(None)):
        return None if value is None else MISMATCH
    if hint is bool or isinstance(value, bool):
        return value if hint is bool and isinstance(value, bool) else MISMATCH
    allowed = (int, float) if hint is float else hint
    return value if isinstance(value, allowed) else MISMATCH


def _sequence(origin: Hint, inner: tuple[Hint, ...], value: Any) -> Any:
    """Each item of a sequence by its own annotation; a sequence of an unknown kind as it is."""
    given = plain(value)
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        return MISMATCH
    fixed = origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis)
    if fixed and len(given) != len(inner):
        return MISMATCH
    hints = inner if fixed else (inner[0],) * len(given)
    if not fixed and not isinstance(given, list | tuple | range):
        return value
    items = [converted(hint, item) for hint, item in zip(hints, given, strict=True)]
    if any(item is MISMATCH for item in items):
        return MISMATCH
    if isinstance(given, tuple if origin is tuple else list | tuple) and all(
        item is each for item, each in zip(items, given, strict=True)
    ):
        return given
    return tuple(items) if origin is tuple else items


def needed(hint: Hint) -> str:
    """What an annotation asks for, as a clause of an error message.

    Args:
        hint: The annotation.

    Returns:
        The clause, such as "a whole number or a string"; that None is allowed too is not said.
    """
    members = [one for one in alternatives(hint) if one not in (type(None), None)]
    if {str, Path} <= set(members):
        members.remove(str)
    said = list(dict.fromkeys(map(_in_words, members)))
    return ", ".join(said[:-1]) + " or " + said[-1] if len(said) > 1 else said[0]


def _in_words(hint: Hint) -> str:
    if hint in WORDS:
        return WORDS[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (Sequence, list, tuple):
        kind = {int: "whole numbers", float: "numbers", str: "strings"}.get(inner[0], "values")
        fixed = origin is tuple and inner[-1] is not Ellipsis
        return f"({', '.join(['number'] * len(inner))})" if fixed else f"a list of {kind}"
    if (kinds := number_types(hint)) is not None:
        said = {"float32": " of floats", "bool": " of booleans", "int64": " of whole numbers (int64)"}
        return "a tensor" + next((words for kind, words in said.items() if kind in kinds), "")
    name = getattr(hint, "__name__", str(hint))
    if hint in (torch.dtype, torch.device):
        return f"a torch.{name}"
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name} object"


def shown(value: Any) -> str:
    """A value as an error message names it.

    Args:
        value: Any value.

    Returns:
        Its repr if that is short, else its kind.
    """
    if isinstance(value, type):
        return f"{value.__name__} (the class, not an object of it)"
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')} and shape {tuple(value.shape)}"
    text = repr(value) if isinstance(value, str | int | float | bool | list | tuple | type(None)) else ""
    return text if 0 < len(text) < 60 else f"<{type(value).__name__}>"
