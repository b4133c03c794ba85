"""What every container of images is read as: a list of items, each with a name, a reader, a label and a caption."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# .heic is here so that a phone's photographs are reported as unreadable, and not silently passed over.
SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("apng", "avif", "bmp", "gif", "heic", "heif", "jfif", "jp2", "jpe", "jpeg", "jpg"),
        *("pbm", "pgm", "png", "pnm", "ppm", "tga", "tif", "tiff", "webp"),
    )
)


class Item(NamedTuple):
    """One image of a container.

    Args:
        name: Its place in the container, for reports.
        read: Returns an image file's bytes, or pixels [height, width] or [height, width, channels]. May raise anything.
        label: Name of its class; None if unknown.
        caption: Its caption; None if there is none.
    """

    name: str
    read: Callable[[], bytes | np.ndarray]
    label: str | None = None
    caption: str | None = None


class Listing(NamedTuple):
    """Everything a container holds, in a fixed order.

    Args:
        items: The images.
        stamp: A string that changes when the content does: names, sizes and modification times.
        unclassified: Number of images beside the class folders, in no class.
    """

    items: list[Item]
    stamp: str
    unclassified: int = 0
