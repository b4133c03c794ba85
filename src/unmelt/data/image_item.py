"""What every container of images is read as: a list of items, each with a name, a reader, a label and a caption."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unmelt.data.files import reason, signature
from unmelt.errors import UsageError

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
        broken: (name, reason) of what was found and cannot be used.
        classes: Names of classes in the order that the data set gives; empty if it gives none.
    """

    items: list[Item]
    stamp: str = ""
    unclassified: int = 0
    broken: Sequence[tuple[str, str]] = ()
    classes: tuple[str, ...] = ()


class DamagedError(ValueError):
    """A container that cannot be read; the message is the reason."""


def joined(paths: Sequence[Path], listing: Callable[[Path], Listing], whole: str) -> Listing:
    """The listings of several containers as one. A damaged one is left out, unless nothing else is left.

    Args:
        paths: The containers, read in this order.
        listing: Lists one of them; raises `DamagedError` if it cannot be read.
        whole: What is needed, for the error message.

    Returns:
        The listing; its stamp is made of the containers' paths, sizes and modification times.

    Raises:
        UsageError: If none of them can be read.
    """
    found, broken = [], []
    for path in paths:
        try:
            found.append(listing(path))
        except DamagedError as error:
            broken.append((path.name, reason(error)))
    if not found:
        raise UsageError(f"{paths[0]} cannot be read ({broken[0][1]})", whole, "a copy of it")
    return Listing(
        [item for each in found for item in each.items],
        repr([signature(path) for path in paths]),
        sum(each.unclassified for each in found),
        [*broken, *(one for each in found for one in each.broken)],
        tuple(dict.fromkeys(name for each in found for name in each.classes)),
    )
