"""Class labels as users give them: by number or by name, one for all rows or one for each row.

Classes may be called by whole numbers that are not their positions: 1 to 12, or 0, 2 and 5. Then `label=2` is the class
that is called 2, never the third one. A tensor or array holds positions, as `Condition.label` does.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.arguments.values import MISMATCH, converted, plain, shown
from unmelt.errors import UsageError, nearest

Label: TypeAlias = int | str | Sequence[int] | Sequence[str] | Tensor
"""A class by its number or its name, or a sequence with one for each row."""


def labels_of(rows: int, label: Label | None, classes: Sequence[str]) -> Int64[Tensor, " rows"] | None:
    """The class number of each row.

    Args:
        rows: The number of rows.
        label: A class by number or name, for all rows; a sequence with one for each row, or a tensor or array of
            positions; None for no label.
        classes: The names of the classes, in the order of their numbers; empty for a model without classes.

    Returns:
        [rows], the class numbers; None if `label` is None.

    Raises:
        UsageError: If the model has no classes, a class does not exist, or the number of labels is not `rows`.
    """
    if label is None:
        return None
    if not classes:
        raise UsageError(f"label={label!r} for a model without classes", "no label", "model.sample(16)")
    positions = getattr(label, "ndim", 0) > 0
    labels = plain(label)
    in_order = all(name == str(number) for number, name in enumerate(classes))
    numbered = not positions and not in_order and all(re.fullmatch("-?[0-9]+", name) for name in classes)
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        return torch.tensor(_number(labels, classes, numbered)).expand(rows)
    if len(labels) != rows:
        raise UsageError(f"{len(labels)} labels for {rows} rows", "one label, or one for each row", "label=3")
    return torch.tensor([_number(one, classes, numbered) for one in labels])


def class_numbers(label: Any, rows: int) -> Int64[Tensor, " rows"]:
    """The class number of each row, for denoisers whose classes have no names.

    Args:
        label: A class by number, for all rows; a sequence or tensor with one for each row.
        rows: The number of rows.

    Returns:
        [rows], the class numbers.

    Raises:
        UsageError: If a label is not a whole number of at least 0, or the number of labels is not `rows`.
    """
    labels = plain(label)
    every = labels if isinstance(labels, Sequence) and not isinstance(labels, str) else [labels]
    for one in every:
        if converted(int, one) is MISMATCH or one < 0:
            raise UsageError(f"label={shown(one)}", "the number of a class", "label=1")
    if len(every) not in (1, rows):
        raise UsageError(f"{len(every)} labels for {rows} rows", "one label, or one for each row", "label=1")
    return torch.tensor([int(one) for one in every]).expand(rows)


def _number(label: int | str, classes: Sequence[str], numbered: bool) -> int:
    """The position of a class, given by number or by name; the number is the name where classes are numbered."""
    if isinstance(label, str):
        if label in classes:
            return list(classes).index(label)
        needed, meant = f"one of {', '.join(classes)}", nearest(label, classes)
        raise UsageError(f"there is no class {label!r}", needed, f"label={meant!r}")
    number = converted(int, label)
    if number is MISMATCH:
        raise UsageError(f"label={shown(label)}", "the number or the name of a class", f"label={classes[-1]!r}")
    if numbered:
        return _number(str(number), classes, False)
    if not 0 <= number < len(classes):
        last = len(classes) - 1
        raise UsageError(f"there is no class {number}", f"a class from 0 to {last}", f"label={last}")
    return number
