"""Class labels as users give them: by number or by name, one for all rows or one for each row."""

import operator
from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.errors import UsageError, nearest

Label: TypeAlias = int | str | Sequence[int] | Sequence[str] | Tensor
"""A class by its number or its name, or a sequence with one for each row."""


def labels_of(rows: int, label: Label | None, classes: Sequence[str]) -> Int64[Tensor, " rows"] | None:
    """The class number of each row.

    Args:
        rows: The number of rows.
        label: A class by number or name, for all rows; a sequence or tensor with one for each row; None for no label.
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
    labels = label.tolist() if hasattr(label, "tolist") else label  # a torch tensor or a numpy array
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        return torch.tensor(_number(labels, classes)).expand(rows)
    if len(labels) != rows:
        raise UsageError(f"{len(labels)} labels for {rows} rows", "one label, or one for each row", "label=3")
    return torch.tensor([_number(one, classes) for one in labels])


def _number(label: int | str, classes: Sequence[str]) -> int:
    """The number of a class, given by number or by name."""
    if isinstance(label, str):
        if label in classes:
            return list(classes).index(label)
        needed, meant = f"one of {', '.join(classes)}", nearest(label, classes)
        raise UsageError(f"there is no class {label!r}", needed, f"label={meant!r}")
    try:
        number = operator.index(label)
    except TypeError:
        raise UsageError(f"label={label!r}", "the number or the name of a class", "label=3") from None
    if not 0 <= number < len(classes):
        last = len(classes) - 1
        raise UsageError(f"there is no class {number}", f"a class from 0 to {last}", f"label={last}")
    return number
