"""A folder of images.

    faces/*.jpg                     no classes
    pets/cat/*.jpg  pets/dog/**     one class for each subfolder that holds images at any depth, in order of their names
    faces/1.jpg  faces/1.txt        a caption beside each image; or metadata.csv, .jsonl or .parquet for all of them

Images beside the class folders belong to no class: they are left out and counted. Names that start with a dot are
ignored. Links to folders and out of the folder are not followed.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from unmelt.data import files
from unmelt.data.class_names import class_name
from unmelt.data.encoded_text import decoded
from unmelt.data.image_item import SUFFIXES, Item, Listing
from unmelt.data.labels_and_captions import AUTO, caption_text, check_columns, place, read_metadata
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
    everything, skipped = files.walk(root)
    every = _images(everything)
    in_class_folders = [path for path in every if path.parent != root]
    # Where no classes are wanted, everything counts, wherever it lies.
    found = every if label == "" else in_class_folders or every
    if not found:
        links = f" ({skipped[0][0].name}: {skipped[0][1]})" if skipped else ""
        raise UsageError(
            f"no images in {root}{links}",
            f"files that end in {', '.join(sorted(SUFFIXES - {'.heic', '.heif'}))}; or tar, parquet or npz files",
            "a folder of images, or of one subfolder for each class",
        )
    tables = {path.name: partial(files.read, path, root) for path in root.glob("metadata.*")}
    check_columns(label, caption, bool(tables), str(root))
    metadata = read_metadata(tables, label, caption)
    from_table = bool(metadata.labels) and (label != AUTO or not in_class_folders)  # a named column overrides folders
    found = every if from_table else found
    beside = {path for path in everything if path.suffix == ".txt"} if caption else set()
    items, broken = [], [(path.relative_to(root).as_posix(), why) for path, why in skipped]
    for path in found:
        inside = path.relative_to(root)
        name = place(inside.as_posix())
        class_folder = class_name(inside.parts[0]) if label != "" and len(inside.parts) > 1 else None
        try:
            text = metadata.captions.get(name) or _caption(path.with_suffix(".txt"), root, beside)
        except (OSError, ValueError) as error:
            broken.append((inside.as_posix(), f"its caption: {files.reason(error)}"))
            continue
        kind = metadata.labels.get(name) if from_table else class_folder
        items.append(Item(inside.as_posix(), partial(files.read, path, root), kind, text))
    unclassified = len(every) - len(found) if in_class_folders and not metadata.labels else 0
    return Listing(items, repr([files.signature(path) for path in found]), unclassified, broken)


def _caption(sidecar: Path, root: Path, beside: set[Path]) -> str | None:
    return caption_text(decoded(files.read(sidecar, root), "replace")) if sidecar in beside else None


def _images(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
