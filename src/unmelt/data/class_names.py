"""Names and order of classes: the same for folders, columns of tables, arrays and files beside images.

Where all classes are numbers they are ordered by value, so that "2" comes before "10". Else they are ordered as text,
unless the data set has an order of its own.
"""

import math
import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from unmelt.data.encoded_text import decoded, printable


def class_name(value: Any, names: Sequence[str] = ()) -> str | None:
    """The name of the class that a label stands for.

    Args:
        value: The label as a table, array or file holds it.
        names: The names that a data set gives to the labels 0 to K - 1; empty if labels are themselves names.

    Returns:
        The name, one line of composed (NFC) printable characters; None for no class: None, NaN or an empty text, and -1
        where labels have names.

    Raises:
        ValueError: If the label is not a whole number, is no single value, or has no name.
    """
    if isinstance(value, bytes):
        value = decoded(value, "backslashreplace")
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        if not float(value).is_integer():
            raise ValueError(f"the label {float(value):g} is no class: a class is a name or a whole number")
        value = int(value)
    if isinstance(value, (list, tuple, dict, set)):
        raise ValueError("a label that is not a single name or number")
    if names and isinstance(value, int):
        if not -1 <= value < len(names):
            raise ValueError(f"the label {value} of {len(names)} classes")
        value = None if value == -1 else names[value].strip() or value  # a class without a name is called its number
    return None if value is None else printable(unicodedata.normalize("NFC", str(value).strip())) or None


def ordered(found: Collection[str], declared: Sequence[str] = ()) -> list[str]:
    """Class names in the order of their numbers.

    Args:
        found: The names.
        declared: The order that the data set itself gives; empty if it gives none.

    Returns:
        The names: as declared, else by value if all are numbers, else as text.
    """
    rank = {name: number for number, name in reversed(list(enumerate(declared)))}
    numbers = all(re.fullmatch(r"-?[0-9]{1,300}(\.[0-9]+)?", name) for name in found)
    return sorted(found, key=lambda name: (rank.get(name, len(rank)), float(name) if numbers else 0.0, name))
