"""Every image decoded once into one array of bytes: in memory if it is small, else a memory-mapped file.

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
from unmelt.data.crop import reason, square
from unmelt.data.image_item import Item
from unmelt.errors import UsageError

IN_MEMORY = 256 << 20
"""Bytes of pixels up to which nothing is written to disk."""

HOST = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())
"""The name of this computer, as a part of a file's name: several may share a cache."""

KINDS = ("pixels", "latents")
"""Ends of the names of files in the cache."""


class Packed(NamedTuple):
    """All images as square bytes, and which could not be read.

    Args:
        pixels: The pixels; zeros for an image that could not be read.
        reasons: For each image the reason why it could not be read, or None.
    """

    pixels: UInt8[Tensor, "n channels size size"]
    reasons: list[str | None]


def pack(items: Sequence[Item], stamp: str, size: int, channels: int) -> Packed:
    """Decode all items to squares, from the cache if they were decoded before.

    Args:
        items: The images.
        stamp: A string that changes when their content does.
        size: Side of the squares, in pixels.
        channels: 3 for colour, 1 for greyscale.

    Returns:
        The pixels [n, channels, size, size] and the reasons for failures.

    Raises:
        UsageError: If the disk has no room for them, or the cache cannot be written to.
    """
    shape = (len(items), channels, size, size)
    folder = cache_folder()
    _remove_left_over(folder)
    if len(items) * channels * size * size <= IN_MEMORY:
        array = np.zeros(shape, np.uint8)
        return Packed(torch.from_numpy(array), _decode(items, array, size, channels))
    made_from = f"{stamp} {shape} {[item.name for item in items]}"
    name = hashlib.sha256(made_from.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    data, about = folder / f"{name}.pixels", folder / f"{name}.json"
    count, reasons = math.prod(shape), _reasons(about, len(items))
    if reasons is None or not data.exists() or data.stat().st_size != count:
        _check_room(folder, shape)
        reasons = _write(items, data, about, shape)
    return Packed(torch.from_file(str(data), shared=False, size=count, dtype=torch.uint8).view(shape), reasons)


def _check_room(folder: Path, shape: tuple[int, ...]) -> None:
    """Refuse pixels that the disk of the cache has no room for: a mapped file would claim it without having it."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    needed, (total, _, free) = math.prod(shape), shutil.disk_usage(existing)
    if total and needed > free:  # what is no disk has none at all, and is refused when it is written to
        images, channels, size, _ = shape
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


def _reasons(about: Path, count: int) -> list[str | None] | None:
    """What was written beside the pixels; None if it is not there or is damaged."""
    try:
        found = json.loads(about.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    right = isinstance(found, list) and len(found) == count and all(isinstance(each, str | None) for each in found)
    return found if right else None


def _write(items: Sequence[Item], data: Path, about: Path, shape: tuple[int, ...]) -> list[str | None]:
    """Write both files, whole or not at all: the .json is written last and says that the pixels are complete."""
    incomplete = temporary(data)
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        about.unlink(missing_ok=True)
        pixels = np.memmap(incomplete, np.uint8, "w+", shape=shape)
        reasons = _decode(items, pixels, shape[2], shape[1])
        pixels.flush()
        del pixels  # Windows replaces no file that is mapped into memory
        os.replace(incomplete, data)
        about.write_text(json.dumps(reasons), encoding="utf-8")
        return reasons
    except OSError as error:
        raise UsageError(
            f"the cache of decoded images {data.parent} cannot be written ({error.strerror})",
            f"room for {math.prod(shape) / 1e9:.1f} GB there",
            "UNMELT_CACHE=another/folder unmelt ...",
        ) from None
    finally:
        incomplete.unlink(missing_ok=True)


def _decode(items: Sequence[Item], pixels: np.ndarray, size: int, channels: int) -> list[str | None]:
    from rich.console import Console
    from rich.progress import track

    def read(number: int) -> str | None:
        try:
            pixels[number] = square(items[number].read(), size, channels)
        except Exception as error:  # a damaged file can raise anything at all from a decoder
            return reason(error)
        return None

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
