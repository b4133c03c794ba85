"""A folder of anyone's images.

    faces/*.jpg                     no classes
    pets/cat/*.jpg  pets/dog/**     one class for each subfolder that holds images, however deep, sorted by name
    faces/1.jpg  faces/1.txt        a caption beside each image; or metadata.csv, .jsonl or .parquet with all of them

Images lying beside class folders belong to no class: they are left out and counted. Names that start with a dot are
not looked at.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from unmelt.data.item import SUFFIXES, Item, Listing
from unmelt.data.metadata import AUTO, Known, in_table, known
from unmelt.errors import UsageError


def folder(root: Path, label: str, caption: str) -> Listing:
    """Every file that calls itself an image, in a fixed order."""
    loose = _images(entry for entry in root.iterdir() if entry.is_file())
    subfolders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    classed = [(path, sub.name) for sub in subfolders for path in _images(_files(sub))]
    if label == "":  # no classes are wanted: everything counts, wherever it lies
        classed, loose = [], _images(_files(root))
    found: list[tuple[Path, str | None]] = [*classed] or [(path, None) for path in loose]
    if not found:
        raise UsageError(
            f"no images in {root}",
            f"files that end in {', '.join(sorted(SUFFIXES - {'.heic', '.heif'}))}; or tar, parquet or npz files",
            "a folder of images, or of one subfolder for each class",
        )
    tables = {path.name: path.read_bytes for path in root.glob("metadata.*")}
    in_table(label, caption, bool(tables), str(root))
    told = known(tables, label, caption)
    if told.labels and (label != AUTO or not classed):  # a column that was named is meant, whatever folders there are
        found = [(path, told.labels.get(path.relative_to(root).as_posix())) for path in _images(_files(root))]
    stamp = repr([(str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path, _ in found])
    items = [_item(path, name, root, told, caption) for path, name in found]
    return Listing(items, stamp, len(loose) if classed and not told.labels else 0)


def _item(path: Path, label: str | None, root: Path, told: Known, caption: str) -> Item:
    name = path.relative_to(root).as_posix()
    beside = path.with_suffix(".txt")
    said = told.captions.get(name)
    if said is None and caption and beside.is_file():
        said = beside.read_text("utf-8", errors="replace").strip() or None
    return Item(name, path.read_bytes, label, said)


def _files(top: Path) -> Iterable[Path]:
    for parent, subfolders, files in os.walk(top):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files)


def _images(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
