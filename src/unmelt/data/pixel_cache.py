"""Every image decoded once into one array of bytes: in memory if it is small, else a memory-mapped file.

A mapped file is read where a batch touches it, so a data set may be larger than memory. The file lies in the cache,
`~/.cache/unmelt` or UNMELT_CACHE, under a digest of what it was made from, and is made anew when that changes.
"""

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from unmelt.data.crop import reason, square
from unmelt.data.image_item import Item
from unmelt.errors import UsageError

IN_MEMORY = 256 << 20
"""Bytes of pixels up to which nothing is written to disk."""


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
    """
    shape = (len(items), channels, size, size)
    if len(items) * channels * size * size <= IN_MEMORY:
        array = np.zeros(shape, np.uint8)
        return Packed(torch.from_numpy(array), _decode(items, array, size, channels))
    folder = Path(os.environ.get("UNMELT_CACHE", "~/.cache/unmelt")).expanduser()
    made_from = f"{stamp} {shape} {[item.name for item in items]}"
    name = hashlib.sha256(made_from.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    data, about = folder / f"{name}.pixels", folder / f"{name}.json"
    count, reasons = int(np.prod(shape)), _reasons(about, len(items))
    if reasons is None or not data.exists() or data.stat().st_size != count:
        reasons = _write(items, data, about, shape)
    return Packed(torch.from_file(str(data), shared=False, size=count, dtype=torch.uint8).view(shape), reasons)


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
    temporary = data.with_name(f".{data.name}.{os.getpid()}")
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        about.unlink(missing_ok=True)
        pixels = np.memmap(temporary, np.uint8, "w+", shape=shape)
        reasons = _decode(items, pixels, shape[2], shape[1])
        pixels.flush()
        del pixels  # Windows replaces no file that is mapped into memory
        os.replace(temporary, data)
        about.write_text(json.dumps(reasons), encoding="utf-8")
        return reasons
    except OSError as error:
        raise UsageError(
            f"the cache of decoded images {data.parent} cannot be written ({error.strerror})",
            f"room for {np.prod(shape) / 1e9:.1f} GB there",
            "UNMELT_CACHE=another/folder unmelt ...",
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


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
        return list(work)
