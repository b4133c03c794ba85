"""Every image decoded once into a row of bytes: in memory if they are few, else in a memory-mapped file.

A mapped file is read where a batch touches it, so a data set may be larger than memory. The file lies in the cache,
under a digest of what it was made from, and is made anew when that changes.
"""

import hashlib
import json
import math
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from unmelt.cache_folder import cache_folder
from unmelt.data.crop import cropped_to_nearest, reason
from unmelt.data.image_item import Item
from unmelt.errors import UsageError

IN_MEMORY = 256 << 20
"""Bytes of pixels up to which nothing is written to disk."""

HOST = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())
"""The name of this computer, as a part of a file's name: several may share a cache."""

KINDS = ("pixels", "latents", "sound")
"""Ends of the names of files in the cache."""


class Packed(NamedTuple):
    """All images as bytes, each of one of several sizes, and which could not be read.

    Args:
        rows: A row for each image, as long as the largest size needs; zeros for an image that could not be read.
        sizes: Heights and widths of the sizes.
        channels: Channels of the images.
        found: For each image the number of its size, or the reason why it could not be read.
    """

    rows: UInt8[Tensor, "n values"]
    sizes: tuple[tuple[int, int], ...]
    channels: int
    found: list[int | str]

    def images(self, number: int = 0) -> UInt8[Tensor, "n channels h w"]:
        """All rows read as images of one size, which those of other sizes are not.

        Args:
            number: The number of the size.

        Returns:
            [n, channels, height, width], which shares memory with the rows.
        """
        shape = self.channels, *self.sizes[number]
        return self.rows[:, : math.prod(shape)].unflatten(1, shape)


def pack(items: Sequence[Item], stamp: str, sizes: Sequence[tuple[int, int]], channels: int) -> Packed:
    """Decode all items, from the cache if they were decoded before.

    Args:
        items: The images.
        stamp: A string that changes when their content does.
        sizes: Heights and widths; an image takes the one of the nearest aspect ratio.
        channels: 3 for colour, 1 for greyscale.

    Returns:
        The pixels, the sizes and the reasons for failures.

    Raises:
        UsageError: If the disk has no room for them, or the cache cannot be written to.
    """
    sizes = tuple((high, wide) for high, wide in sizes)
    shape = (len(items), channels * max(high * wide for high, wide in sizes))
    folder = cache_folder()
    _remove_left_over(folder)
    if math.prod(shape) <= IN_MEMORY:
        array = np.zeros(shape, np.uint8)
        return Packed(torch.from_numpy(array), sizes, channels, _decode(items, array, sizes, channels))
    about_sizes: object = (len(items), channels, *sizes[0]) if len(sizes) == 1 else (*shape, channels, sizes)
    made_from = f"{stamp} {about_sizes} {[item.name for item in items]}"
    name = hashlib.sha256(made_from.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    data, about = folder / f"{name}.pixels", folder / f"{name}.json"
    count, found = math.prod(shape), _found(about, len(items), len(sizes))
    if found is None or not data.exists() or data.stat().st_size != count:
        _check_room(folder, shape, channels)
        found = _write(items, data, about, shape, sizes, channels)
    rows = torch.from_file(str(data), shared=False, size=count, dtype=torch.uint8).view(shape)
    return Packed(rows, sizes, channels, found)


def _check_room(folder: Path, shape: tuple[int, int], channels: int) -> None:
    """Refuse pixels that the disk of the cache has no room for: a mapped file would claim it without having it."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    needed, (total, _, free) = math.prod(shape), shutil.disk_usage(existing)
    if total and needed > free:  # what is no disk has none at all, and is refused when it is written to
        images, size = shape[0], math.isqrt(shape[1] // channels)
        smaller = max(1, math.isqrt(free // (images * channels)))
        raise UsageError(
            f"{images:,} images of size={size}, {needed / 1e9:,.1f} GB of pixels, "
            f"with {free / 1e9:,.1f} GB free in the cache {folder}",
            "a smaller size, or a cache (UNMELT_CACHE) on a larger disk",
            f"size={min(1 << (smaller.bit_length() - 1), size)}",
        )


def temporary(data: Path) -> Path:
    """Where a file of the cache is before it is complete: named for the process, on a computer of several.

    Args:
        data: Where it will be.

    Returns:
        The path for the time being.
    """
    return data.with_name(f".{data.name}.{HOST}.{os.getpid()}")


def _remove_left_over(folder: Path) -> None:
    """Remove incomplete files of processes of this computer that were killed."""
    for path in (each for kind in KINDS for each in folder.glob(f".*.{kind}.{HOST}.*")):
        if path.suffix[1:].isdecimal() and not _runs(int(path.suffix[1:])):
            with suppress(OSError):  # Windows says by this that another process has it open
                path.unlink()


def _runs(process: int) -> bool:
    """Whether there is such a process. Windows cannot be asked without harm, and removes no file that is open."""
    if os.name != "posix":
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True


def _found(about: Path, count: int, sizes: int) -> list[int | str] | None:
    """What was written beside the pixels; None if it is not there or is damaged. Version 0.1.0 wrote null for 0."""
    try:
        found = json.loads(about.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, list) or len(found) != count:
        return None
    found = [0 if each is None else each for each in found]
    right = all(isinstance(each, str) or (type(each) is int and 0 <= each < sizes) for each in found)
    return found if right else None


def _write(
    items: Sequence[Item],
    data: Path,
    about: Path,
    shape: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
    channels: int,
) -> list[int | str]:
    """Write both files, whole or not at all: the .json is written last and says that the pixels are complete."""
    incomplete = temporary(data)
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        about.unlink(missing_ok=True)
        rows = np.memmap(incomplete, np.uint8, "w+", shape=shape)
        found = _decode(items, rows, sizes, channels)
        rows.flush()
        del rows  # Windows replaces no file that is mapped into memory
        os.replace(incomplete, data)
        about.write_text(json.dumps(found), encoding="utf-8")
        return found
    except OSError as error:
        raise UsageError(
            f"the cache of decoded images {data.parent} cannot be written ({error.strerror})",
            f"room for {math.prod(shape) / 1e9:.1f} GB there",
            "UNMELT_CACHE=another/folder unmelt ...",
        ) from None
    finally:
        incomplete.unlink(missing_ok=True)


def _decode(
    items: Sequence[Item], rows: np.ndarray, sizes: Sequence[tuple[int, int]], channels: int
) -> list[int | str]:
    from rich.console import Console
    from rich.progress import track

    def read(number: int) -> int | str:
        try:
            size, pixels = cropped_to_nearest(items[number].read(), sizes, channels)
        except Exception as error:  # a damaged file can raise anything at all from a decoder
            return reason(error)
        rows[number, : pixels.size] = pixels.ravel()
        return size

    # Pillow warns of very large images and refuses those that can only be decompression bombs; the refusal is enough.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")
        work = track(
            pool.map(read, range(len(items))),
            description="reading images",
            total=len(items),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        try:
            return list(work)
        except BaseException:  # an interrupt need not wait for all the other images
            pool.shutdown(wait=False, cancel_futures=True)
            raise
