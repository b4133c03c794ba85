"""Images from any common container, as a source of batches and a report of what became of each image.

    folder/                         images, in subfolders for classes
    pets.zip  pets.tar  pets.tar.gz the same in an archive
    shards/*.tar  s-{000..012}.tar  WebDataset shards
    images.npy  images.npz          arrays
    train.parquet  folder/*.parquet a column of images
    folder/ by `datasets`           what save_to_disk wrote; hf:owner/name where the Hub can be reached

Images that cannot be read are named in the report and left out: one bad file among thousands should not end a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch

from unmelt.arguments import checked
from unmelt.data.archive import archive, shards
from unmelt.data.array_files import numbers as array_file
from unmelt.data.aspect_ratio_buckets import AspectRatioBuckets, bucket_sizes
from unmelt.data.class_names import ordered
from unmelt.data.encoded_text import printable
from unmelt.data.folder import folder
from unmelt.data.image_item import Listing
from unmelt.data.labels_and_captions import AUTO
from unmelt.data.parquet import dataset, parquet
from unmelt.data.pixel_cache import Packed, pack
from unmelt.data.source import Arrays
from unmelt.encoder import HashedCaptionEncoder, TextEncoder
from unmelt.errors import UsageError
from unmelt.near_path import not_data

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")

MOST_SIDE = 8192
"""Pixels that the side of an image may have: a single one is 0.8 GB as floats then."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """How many images were used, and which could not be read.

    Args:
        used: Number of images used.
        broken: (name, reason) of every image that could not be read, and of what may have held images.
        classes: Number of images used by class; empty if there are no classes.
        unclassified: Number of images beside the class folders, which belong to no class and were left out.
        captioned: Number of the used images that have a caption; None if captions were not asked for.
        buckets: Number of images used by width and height; empty if all have one size.
    """

    used: int
    broken: tuple[tuple[Path, str], ...]
    classes: dict[str, int]
    unclassified: int = 0
    captioned: int | None = None
    buckets: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"{_count(self.used, 'image')} used"]
        if self.classes:
            shown = [f"{name} {count}" for name, count in self.classes.items()]
            parts[0] += f", in {_count(len(shown), 'class', 'classes')}: {_some(shown, 12)}"
        if self.buckets:
            shapes = [f"{shape} ({count})" for shape, count in self.buckets.items()]
            parts.append(f"{_count(len(shapes), 'bucket')} of pixels: {_some(shapes, 12)}")
        if self.captioned is not None:
            without = self.used - self.captioned
            parts.append(f"{self.captioned:,} with captions" + (f", {without:,} without" if without else ""))
        if self.broken:
            shown = [printable(f"{path.name} ({reason})") for path, reason in self.broken]
            parts.append(f"{_count(len(shown), 'file')} could not be read: {_some(shown, 5)}")
        if self.unclassified:
            parts.append(f"{_count(self.unclassified, 'image')} left out, beside the class folders and in none of them")
        return ". ".join(parts) + "."


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _some(names: list[str], most: int) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


class _Found(NamedTuple):
    """The images of a container, decoded."""

    packed: Packed
    labels: list[int] | None
    captions: list[str | None] | None
    report: Report

    def source(self, number: int, seed: int, encoder: TextEncoder) -> Arrays:
        """The images of one size."""
        classes = list(self.report.classes)
        source = Arrays(self.packed.images(number), self.labels, classes, seed, self.captions, encoder)
        items = [item for item, found in enumerate(self.packed.found) if found == number]
        return source if len(items) == len(source) else source.only(torch.tensor(items))


@checked("um.data.images")
def images(
    path: str | Path,
    size: int = 32,
    channels: int = 3,
    seed: int = 0,
    *,
    label: str = AUTO,
    caption: str = "",
    encoder: TextEncoder = HashedCaptionEncoder(),
) -> tuple[Arrays, Report]:
    """Read images as a source of batches, with a report.

    Args:
        path: A folder, archive, array, parquet file, shard pattern or hf:owner/name.
        size: Side of the squares, in pixels.
        channels: 3 for colour, 1 for greyscale.
        seed: Seed of the order in which batches come.
        label: Column of class names; "auto" for a usual name (or subfolders), "" for no classes.
        caption: Column of captions; "auto" for a usual name or a .txt beside each image, "" for none.
        encoder: Encodes the captions.

    Returns:
        (source, report): images [channels, size, size] as floats in [0, 1], and what became of each file.

    Raises:
        UsageError: If the size is out of range, there is nothing at the path, no image can be read, only some images
            have a class, or captions were asked for and there are none.
    """
    _check_size(size)
    found = _read(path, [(size, size)], channels, label, caption)
    return found.source(0, seed, encoder), found.report


@checked("um.data.image_buckets")
def image_buckets(
    path: str | Path,
    size: int = 32,
    channels: int = 3,
    seed: int = 0,
    *,
    multiple: int = 1,
    label: str = AUTO,
    caption: str = "",
    encoder: TextEncoder = HashedCaptionEncoder(),
) -> tuple[AspectRatioBuckets, Report]:
    """Read images of several aspect ratios, each in the bucket of the nearest one, with a report.

    Args:
        path: As for `images`, like most that follow.
        size: Side of the square bucket, in pixels; the others have nearly as many pixels.
        channels: 3 for colour, 1 for greyscale.
        seed: Seed of the order in which batches come.
        multiple: What the sides of the other buckets are multiples of, such as the codec's factor times the patch.
        label: Column of class names; "auto" for a usual name (or subfolders), "" for no classes.
        caption: Column of captions; "auto" for a usual name or a .txt beside each image, "" for none.
        encoder: Encodes the captions.

    Returns:
        (source, report): batches of images of one shape, as floats in [0, 1], and what became of each file.

    Raises:
        UsageError: As for `images`, or if the multiple is not from 1 to the size.
    """
    _check_size(size)
    if not 1 <= multiple <= size:
        raise UsageError(f"multiple={multiple} for size={size}", f"from 1 to {size}", "multiple=1")
    found = _read(path, bucket_sizes(size, multiple), channels, label, caption)
    numbers = [number for number in range(len(found.packed.sizes)) if number in found.packed.found]
    sizes = [found.packed.sizes[number] for number in numbers]
    shown = {f"{wide} x {high}": found.packed.found.count(n) for n, (high, wide) in zip(numbers, sizes, strict=True)}
    report = replace(found.report, buckets=shown)
    return AspectRatioBuckets([found.source(number, seed, encoder) for number in numbers], seed), report


def _check_size(size: int) -> None:
    if not 1 <= size <= MOST_SIDE:
        raise UsageError(f"size={size}", f"a side of 1 to {MOST_SIDE:,} pixels", "size=64")


def _read(path: str | Path, sizes: Sequence[tuple[int, int]], channels: int, label: str, caption: str) -> _Found:
    """Read all images, each as the size of the nearest aspect ratio."""
    if channels not in (1, 3):
        raise UsageError(f"channels={channels}", "3 channels, or 1", "channels=3")
    listed = _listed(path, label, caption)
    if label == "":
        listed = listed._replace(items=[item._replace(label=None) for item in listed.items])
    packed = pack(listed.items, listed.stamp, sizes, channels)
    pairs = list(zip(listed.items, packed.found, strict=True))
    kept = [item for item, found in pairs if isinstance(found, int)]
    unreadable = [(item.name, found) for item, found in pairs if isinstance(found, str)]
    broken = tuple((Path(name), reason) for name, reason in [*listed.broken, *unreadable])
    if not kept:
        raise UsageError(
            f"none of the {_count(len(broken), 'image')} in {path} can be read"
            f" ({_some([printable(f'{name.name}: {reason}') for name, reason in broken], 3)})",
            "at least one readable image",
            "other files, or these after what is said of them has been mended",
        )
    # A class with no readable image is no class: nothing could be learned about its label.
    counted = Counter(item.label for item in kept if item.label is not None)
    counts = {name: counted[name] for name in ordered(counted, listed.classes)}
    if counts and any(item.label is None for item in kept):
        raise UsageError(
            f"{sum(item.label is None for item in kept)} of {len(kept)} images in {path} have no class",
            "a class for each image, or none wanted",
            "label=''",
        )
    if caption and not any(item.caption for item in kept):
        raise UsageError(
            f"no captions in {path}",
            "a .txt file beside each image, a column called caption or text, or none wanted",
            "caption=''",
        )
    number = {name: k for k, name in enumerate(counts)}
    report = Report(
        used=len(kept),
        broken=broken,
        classes=counts,
        unclassified=listed.unclassified,
        captioned=sum(item.caption is not None for item in kept) if caption else None,
    )
    labels = [number.get(str(item.label), 0) for item in listed.items] if counts else None
    return _Found(packed, labels, [item.caption for item in listed.items] if caption else None, report)


def _listed(path: str | Path, label: str, caption: str) -> Listing:
    """Recognise the container and list its images."""
    text = str(path)
    if text.startswith("hf:"):
        return dataset(text, label, caption)
    root = Path(path).expanduser()
    if any(mark in root.name for mark in "*{"):
        return archive(shards(str(root)), label, caption)
    if (wrong := not_data(root, "path/to/your/images")) is not None:
        given, instead = wrong
        needed = "a folder with images in it, or an archive, an array or a table of images"
        raise UsageError(given, needed, instead)
    if root.is_dir():
        if (root / "dataset_info.json").exists() or (root / "dataset_dict.json").exists():
            return dataset(root, label, caption)
        for suffix, read in ((".tar", archive), (".parquet", parquet)):
            found = [each for each in sorted(root.glob(f"*{suffix}")) if each.stem != "metadata" and each.is_file()]
            if found:
                return read(found, label, caption)
        return folder(root, label, caption)
    name = root.name.lower() if root.is_file() else ""  # a pipe would block, and a device never end
    if name.endswith(ARCHIVES):
        return archive([root], label, caption)
    if name.endswith((".npy", ".npz")):
        return array_file(root, label, caption)
    if name.endswith(".parquet"):
        return parquet([root], label, caption)
    raise UsageError(
        f"{root} is a file" if root.is_file() else f"{root} is no regular file",
        f"a folder with images in it, or a file that ends in {', '.join((*ARCHIVES, '.npy', '.npz', '.parquet'))}",
        f"folder={str(root.parent)!r}",
    )
