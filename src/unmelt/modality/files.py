"""Pictures and arrays as files, and the check that a file's name says a format that can be written."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL.Image import Image
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.train.atomic_files import write


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a path whose suffix, in small or capital letters, names no format that can be written.

    Args:
        path: Where something is to be written.
        suffixes: The suffixes that are known.

    Raises:
        UsageError: If the path's suffix is not among them.
    """
    if path.suffix.lower() not in suffixes:
        *most, last = suffixes
        known = f"{', '.join(most)} or {last}" if most else last
        raise UsageError(
            f"the output {path}", f"a name that ends in {known}", f"out={path.with_suffix(suffixes[0]).name!r}"
        )


def write_picture(path: Path, picture: Image) -> list[Path]:
    """Write a picture as PNG, atomically.

    Args:
        path: Where to write.
        picture: The picture.

    Returns:
        The path, in a list.
    """
    page = BytesIO()
    picture.save(page, format="PNG")
    write(path, page.getvalue())
    return [path]


def write_array(path: Path, x: Tensor) -> list[Path]:
    """Write a tensor as a NumPy array (.npy), atomically.

    Args:
        path: Where to write.
        x: The tensor.

    Returns:
        The path, in a list.
    """
    array = BytesIO()
    np.save(array, x.detach().cpu().numpy())
    write(path, array.getvalue())
    return [path]
