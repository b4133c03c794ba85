"""A folder of images.

    faces/*.jpg                     no classes
    pets/cat/*.jpg  pets/dog/**     one class for each subfolder that holds images at any depth, sorted by name
    faces/1.jpg  faces/1.txt        a caption beside each image; or metadata.csv, .jsonl or .parquet for all of them

Images beside the class folders belong to no class: they are left out and counted. Names that start with a dot are
ignored.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from unmelt.data.image_item import SUFFIXES, Item, Listing
from unmelt.data.labels_and_captions import AUTO, Metadata, check_columns, read_metadata
from unmelt.errors import UsageError


def folder(root: Path, label: str, caption: str) -> Listing:
    """List every image file of a folder, in a fixed order.

    Args:
        root: The folder.
        label: Column of class names in a metadata file; "auto" for subfolders or a usual name, "" for no classes.
        caption: Column of captions; "auto" for a usual name or a .txt beside each image, "" for none.

    Returns:
        The listing; its stamp is made of paths, sizes and modification times.

    Raises:
        UsageError: If there is no image in the folder.
    """
    unclassified = _images(entry for entry in root.iterdir() if entry.is_file())
    subfolders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    classed = [(path, sub.name) for sub in subfolders for path in _images(_files(sub))]
    if label == "":  # no classes are wanted: everything counts, wherever it lies
        classed, unclassified = [], _images(_files(root))
    found: list[tuple[Path, str | None]] = [*classed] or [(path, None) for path in unclassified]
    if not found:
        raise UsageError(
            f"no images in {root}",
            f"files that end in {', '.join(sorted(SUFFIXES - {'.heic', '.heif'}))}; or tar, parquet or npz files",
            "a folder of images, or of one subfolder for each class",
        )
    tables = {path.name: path.read_bytes for path in root.glob("metadata.*")}
    check_columns(label, caption, bool(tables), str(root))
    metadata = read_metadata(tables, label, caption)
    if metadata.labels and (label != AUTO or not classed):  # a named column overrides the folders
        found = [(path, metadata.labels.get(path.relative_to(root).as_posix())) for path in _images(_files(root))]
    stamp = repr([(str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path, _ in found])
    items = [_item(path, name, root, metadata, caption) for path, name in found]
    return Listing(items, stamp, len(unclassified) if classed and not metadata.labels else 0)


def _item(path: Path, label: str | None, root: Path, metadata: Metadata, caption: str) -> Item:
    name = path.relative_to(root).as_posix()
    sidecar = path.with_suffix(".txt")
    text = metadata.captions.get(name)
    if text is None and caption and sidecar.is_file():
        text = sidecar.read_text("utf-8", errors="replace").strip() or None
    return Item(name, path.read_bytes, label, text)


def _files(top: Path) -> Iterable[Path]:
    for parent, subfolders, files in os.walk(top):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files)


def _images(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
