"""A folder of anyone's images: any sizes, any modes, some of them broken.

    faces/*.jpg                     no classes
    pets/cat/*.jpg  pets/dog/**     one class for each subfolder that holds images, however deep, sorted by name

Every image is turned upright (EXIF), cropped to the square in its middle, resized with a Lanczos filter, laid on white
where it is transparent, and kept as bytes. Of an animation the first frame counts. Files that cannot be read are named
in the report and left out; one bad file among thousands should not end a run. Images lying beside class folders
belong to no class: they are left out and counted. Names that start with a dot are not looked at.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

from unmelt.data.source import Arrays
from unmelt.errors import UsageError

# .heic is here so that a phone's photographs are reported as unreadable, and not silently passed over.
_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("apng", "avif", "bmp", "gif", "heic", "heif", "jfif", "jp2", "jpe", "jpeg", "jpg"),
        *("pbm", "pgm", "png", "pnm", "ppm", "tga", "tif", "tiff", "webp"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of the files: how many images were used, and which could not be.

    broken    (path, reason) of every file that could not be read
    classes   how many images of each class were used; empty if there are no classes
    loose     how many images lie beside the class folders, in no class
    """

    used: int
    broken: tuple[tuple[Path, str], ...]
    classes: dict[str, int]
    loose: int = 0

    def __str__(self) -> str:
        parts = [f"{_count(self.used, 'image')} used"]
        if self.classes:
            shown = [f"{name} {count}" for name, count in self.classes.items()]
            parts[0] += f", in {_count(len(shown), 'class', 'classes')}: {_some(shown, 12)}"
        if self.broken:
            shown = [f"{path.name} ({reason})" for path, reason in self.broken]
            parts.append(f"{_count(len(shown), 'file')} could not be read: {_some(shown, 5)}")
        if self.loose:
            parts.append(f"{_count(self.loose, 'image')} left out, beside the class folders and in none of them")
        return ". ".join(parts) + "."


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _some(names: list[str], most: int) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def folder(path: str | Path, size: int, channels: int = 3, seed: int = 0) -> tuple[Arrays, Report]:
    """The images of a folder as a source, and a report of what became of every file.

    size       of the squares, in pixels
    channels   3 for colour, 1 for grey
    seed       of the order in which batches come

    `UsageError` if there is no such folder, or no image in it that can be read.
    """
    root = Path(path).expanduser()
    if size < 1 or channels not in (1, 3):
        raise UsageError(
            f"folder was given size={size}, channels={channels}",
            "a size of at least 1 pixel, and 3 channels or 1",
            f'folder("{root}", size=64, channels=3)',
        )
    found = _find(root)
    pixels, reasons = _read([image.path for image in found.images], size, channels)
    kept = [image for image, reason in zip(found.images, reasons, strict=True) if reason is None]
    broken = tuple((i.path, reason) for i, reason in zip(found.images, reasons, strict=True) if reason is not None)
    if not kept:
        raise UsageError(
            f"none of the {_count(len(broken), 'image')} in {root} can be read"
            f" ({_some([f'{path.name}: {reason}' for path, reason in broken], 3)})",
            "at least one readable image",
            "opening one of them in an image viewer to see what is wrong",
        )
    if broken:
        pixels = pixels[torch.tensor([reason is None for reason in reasons])]
    # A class with no readable image is no class: nothing could be learned about its label.
    counts = dict(sorted(Counter(image.label for image in kept if image.label is not None).items()))
    names = list(counts)
    labels = [names.index(image.label) for image in kept if image.label is not None] if names else None
    report = Report(used=len(kept), broken=broken, classes=counts, loose=found.loose)
    return Arrays(pixels, labels, names, seed), report


class _Image(NamedTuple):
    path: Path
    label: str | None


class _Found(NamedTuple):
    images: list[_Image]
    loose: int


def _find(root: Path) -> _Found:
    """Every file that calls itself an image, in a fixed order."""
    if not root.is_dir():
        given = f"{root} is a file" if root.exists() else f"there is no folder {root} (looked in {Path.cwd()})"
        raise UsageError(given, "a folder with images in it", 'folder("path/to/your/images", size=64)')
    loose = _images(entry for entry in root.iterdir() if entry.is_file())
    subfolders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    classed = [_Image(path, sub.name) for sub in subfolders for path in _images(_files(sub))]
    if classed:
        return _Found(classed, len(loose))
    if loose:
        return _Found([_Image(path, None) for path in loose], 0)
    raise UsageError(
        f"no images in {root}",
        f"files that end in {', '.join(sorted(_SUFFIXES - {'.heic', '.heif'}))}",
        "a folder of images, or of one subfolder for each class",
    )


def _files(top: Path) -> Iterable[Path]:
    for parent, subfolders, files in os.walk(top):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files)


def _images(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."))


def _read(
    paths: list[Path], size: int, channels: int
) -> tuple[UInt8[torch.Tensor, "n {channels} {size} {size}"], list[str | None]]:
    """All squares, and for each the reason why it could not be read, or None."""
    pixels = torch.zeros(len(paths), channels, size, size, dtype=torch.uint8)

    def read(item: int) -> str | None:
        try:
            square = _square(paths[item], size, channels)
        except Exception as error:  # a damaged file can raise anything at all from a decoder
            return _reason(paths[item], error)
        pixels[item] = torch.from_numpy(square)
        return None

    # Pillow warns of very large images and refuses those that can only be decompression bombs; the refusal is enough.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")
        work = track(
            pool.map(read, range(len(paths))),
            description="reading images",
            total=len(paths),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        return pixels, list(work)


def _reason(path: Path, error: Exception) -> str:
    if path.is_file() and path.stat().st_size == 0:
        return "empty file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow knows"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels, a decompression bomb?"
    return str(error) or type(error).__name__


def _square(path: Path, size: int, channels: int) -> np.ndarray:
    """The middle of the image as bytes, [channels, size, size]."""
    with Image.open(path) as image:
        # A JPEG can be decoded at an eighth of its size or a quarter; twice what is needed keeps the filter's quality.
        image.draft(image.mode, (2 * size, 2 * size))
        upright = _plain(ImageOps.exif_transpose(image))
    side = min(upright.size)
    left, top = (upright.width - side) // 2, (upright.height - side) // 2
    square = upright.crop((left, top, left + side, top + side))
    square = square.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if square.mode == "RGBA":
        square = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square)
    square = square.convert("L" if channels == 1 else "RGB")
    return np.array(square).reshape(size, size, channels).transpose(2, 0, 1)


def _plain(image: Image.Image) -> Image.Image:
    """The same image in one of the modes that resize well: L, RGB, or RGBA where something is transparent."""
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):  # sixteen bits; `convert` would cut, not scale
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels, of which black and white are not known")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
