"""Classes as people say them: by number or by name, one for all rows or one for each."""

import operator
from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.errors import UsageError, nearest

Label: TypeAlias = int | str | Sequence[int] | Sequence[str] | Tensor
"""A class by its number or its name, or one for each row."""


def labels_of(rows: int, label: Label | None, classes: Sequence[str]) -> Int64[Tensor, " rows"] | None:
    """The number of the class of each row; None where there is none to give."""
    if label is None:
        return None
    if not classes:
        raise UsageError(f"label={label!r} for a model without classes", "no label", "model.sample(16)")
    each = label.tolist() if hasattr(label, "tolist") else label  # of torch or numpy
    if isinstance(each, str) or not isinstance(each, Sequence):
        return torch.tensor(_number(each, classes)).expand(rows)
    if len(each) != rows:
        raise UsageError(f"{len(each)} labels for {rows} rows", "one label, or one for each row", "label=3")
    return torch.tensor([_number(one, classes) for one in each])


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
