"""What every container of images is read as: a list of items, each with a name, a way to read it, and what is known."""

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

    name      its place in the container, for reports
    read      gives an image file's bytes, or pixels, [height, width] or [height, width, channels]; may raise anything
    label     the name of its class, where classes are known
    caption   where there is one
    """

    name: str
    read: Callable[[], bytes | np.ndarray]
    label: str | None = None
    caption: str | None = None


class Listing(NamedTuple):
    """Everything a container holds, in a fixed order.

    stamp   changes when the content does: names, sizes and times
    loose   how many images lie beside the class folders, in no class
    """

    items: list[Item]
    stamp: str
    loose: int = 0
