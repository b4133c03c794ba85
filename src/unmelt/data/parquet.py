"""Images in a column: parquet files, and data sets of Hugging Face's `datasets`.

The column holds image files as bytes, or as {bytes, path}, which is how `datasets` writes its Image feature. A path is
followed where it leads to a file beside the table: whoever wrote the table must not choose among the files of whoever
reads it.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from threading import Lock
from typing import Any

from unmelt.data import files
from unmelt.data.class_names import class_name
from unmelt.data.image_item import DamagedError, Item, Listing, joined
from unmelt.data.labels_and_captions import CAPTIONS, LABELS, caption_text, column
from unmelt.errors import UsageError

IMAGES = ("image", "img", "jpg", "png", "picture", "bytes")

Names = Mapping[str, Sequence[str]]
"""Of each column of numbers that stand for classes, their names."""


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise UsageError(f"{name} is not installed", "it, to read this", "pip install 'unmelt[data]'") from None
    except ImportError as error:  # it is there, but not in company that it can work with
        raise UsageError(
            f"{name} cannot be loaded ({files.reason(error)})",
            "it, to read this",
            "pip install -U 'unmelt[data]'",
        ) from None


def parquet_table(content: bytes, name: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Read a small parquet table.

    Args:
        content: The file.
        name: Its name, for the error message.

    Returns:
        (columns, rows): one dictionary for each row, in which classes have their names.

    Raises:
        UsageError: If the file is damaged or pyarrow is not installed.
    """
    reader = _library("pyarrow.parquet")
    try:
        file = _checked(reader.ParquetFile(BytesIO(content)), len(content))
        names = _class_names(file.schema_arrow.metadata)
        rows = file.read().to_pylist()
        for row in rows:
            row |= {each: class_name(row[each], names[each]) for each in names if each in row}
    except Exception as error:  # a damaged file can raise anything at all
        raise UsageError(f"{name} cannot be read ({files.reason(error)})", "a whole parquet file", "a copy") from None
    return file.schema_arrow.names, rows


def parquet(paths: Sequence[Path], label: str, caption: str) -> Listing:
    """List the rows of parquet files, one file after the other; images are read on demand.

    Args:
        paths: The files.
        label: Column of class names; "auto" for a usual name, "" for none.
        caption: Column of captions; "auto" for a usual name, "" for none.

    Returns:
        The listing; its stamp is made of paths, sizes and modification times. Of several files those that are damaged
        are left out.

    Raises:
        UsageError: If all files are damaged, or one has no column of images.
    """
    _library("pyarrow.parquet")
    return joined(paths, lambda path: _rows(path, label, caption), "a whole parquet file")


def _rows(path: Path, label: str, caption: str) -> Listing:
    try:
        file = _checked(_library("pyarrow.parquet").ParquetFile(path), path.stat().st_size)
        available, names = file.schema_arrow.names, _class_names(file.schema_arrow.metadata)
        counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except Exception as error:  # a damaged file can raise anything at all
        raise DamagedError(files.reason(error)) from None
    image, others = _columns(available, label, caption, path.name)
    try:
        rows = file.read(columns=[name for name in others if name]).to_pylist() if any(others) else [{}] * sum(counts)
        if len(rows) != sum(counts):
            raise ValueError(f"{sum(counts):,} rows claimed of {len(rows):,}")
    except Exception as error:
        raise DamagedError(files.reason(error)) from None
    groups = [(_Group(path, group, image), count) for group, count in enumerate(counts)]
    cells = (partial(group, row) for group, count in groups for row in range(count))
    named = [(f"{path.name}:{number}", cell) for number, cell in enumerate(cells)]
    return _listing(named, rows, others, names, path.name)


def _checked(file: Any, size: int) -> Any:
    """The parquet file, if it does not claim more rows than its bytes have bits."""
    if file.metadata.num_rows > 8 * size:
        raise ValueError(f"{file.metadata.num_rows:,} rows claimed by {size:,} bytes")
    return file


def _class_names(metadata: Mapping[bytes, bytes] | None) -> Names:
    """The names of classes that `datasets` writes into a table's metadata."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: feature.get("names") for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):  # written by something else
        return {}
    return {
        name: names
        for name, names in found.items()
        if isinstance(names, list) and all(isinstance(each, str) for each in names)
    }


def _columns(
    available: Sequence[str], label: str, caption: str, where: str
) -> tuple[str, tuple[str | None, str | None]]:
    image = next((name for name in IMAGES if name in available), None)
    if image is None:
        raise UsageError(
            f"{where} has no column of images",
            f"one called {', '.join(IMAGES)}",
            f"one of {', '.join(available)} renamed",
        )
    return image, (column(label, LABELS, available, where), column(caption, CAPTIONS, available, where))


def _listing(
    cells: Sequence[tuple[str, Any]],
    rows: Sequence[dict[str, Any]],
    others: tuple[str | None, str | None],
    names: Names,
    where: str,
) -> Listing:
    """Images with the labels and captions of their rows."""
    label, caption = others
    declared = names.get(label, ()) if label else ()
    items = []
    for (name, read), row in zip(cells, rows, strict=True):
        try:
            kind = class_name(row[label], declared) if label else None
            text = caption_text(row[caption]) if caption else None
        except ValueError as error:
            raise UsageError(f"{where}, row {name.rpartition(':')[2]}: {error}", "a class", "label=''") from None
        items.append(Item(name, read, kind, text))
    order = [class_name(number, declared) or "" for number in range(len(declared))]
    return Listing(items, classes=tuple(order))


class _Group:
    """The image column of one row group, kept until each of its rows has been read. Several threads may read it."""

    def __init__(self, path: Path, group: int, image: str) -> None:
        self.path, self.group, self.image = path, group, image
        self.cells: list[Any] | None = None
        self.done = 0
        self.lock = Lock()

    def __call__(self, row: int) -> bytes:
        with self.lock:
            if self.cells is None:
                table = _library("pyarrow.parquet").ParquetFile(self.path).read_row_group(self.group, [self.image])
                self.cells = table.column(0).to_pylist()
            cell = self.cells[row]
            self.done += 1
            if self.done == len(self.cells):
                self.cells, self.done = None, 0
        return _content(cell, self.path.parent)


def _content(cell: Any, folder: Path, caches: Sequence[Path] = ()) -> bytes:
    """The image file of a cell, which may name a file in the folder of its table, or in a cache that it came with."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or _beside(cell.get("path"), folder, caches)
    if not isinstance(cell, bytes):
        raise ValueError("not the bytes of an image")
    return cell


def _beside(path: Any, folder: Path, caches: Sequence[Path]) -> bytes | None:
    if not isinstance(path, str) or not path:
        return None
    for cache in caches:
        if Path(path).is_absolute() and Path(path).is_relative_to(cache):
            return files.read(Path(path), cache)
    kinds = PurePosixPath(path), PureWindowsPath(path)
    if "://" in path or any(kind.is_absolute() or kind.anchor or ".." in kind.parts for kind in kinds):
        raise ValueError("a path that leads out of the folder of the table, which is not followed")
    return files.read(folder / path, folder)


def dataset(place: str | Path, label: str, caption: str) -> Listing:
    """List a folder that `datasets` wrote, or `hf:owner/name` from the Hub. Of several splits the first is used.

    Args:
        place: The folder, or "hf:owner/name".
        label: Column of class names; "auto" for a usual name, "" for none.
        caption: Column of captions; "auto" for a usual name, "" for none.

    Returns:
        The listing; its stamp is the data set's fingerprint.

    Raises:
        UsageError: If the data set cannot be read or has no column of images.
    """
    library = _library("datasets")
    remote = str(place).startswith("hf:")
    try:
        data = library.load_dataset(str(place)[3:]) if remote else library.load_from_disk(str(place))
        data = data[next(iter(data))] if isinstance(data, dict) else data
    except Exception as error:  # of the network, of the hub, of the files
        raise UsageError(
            f"{place} cannot be read as a data set ({files.reason(error)})",
            "a folder that datasets' save_to_disk wrote, or a name on the hub",
            "hf:owner/name",
        ) from None
    image, others = _columns(data.column_names, label, caption, str(place))
    features = data.features
    names = {name: features[name].names for name in others if name and hasattr(features[name], "names")}
    chosen = [name for name in others if name]
    rows = list(data.select_columns(chosen)) if chosen else [{}] * len(data)
    column_of_images = data.select_columns([image])  # a row is read as a whole: other columns may be files as well
    if hasattr(features[image], "decode"):
        column_of_images = column_of_images.cast_column(image, library.Image(decode=False))
    caches = [Path(library.config.HF_DATASETS_CACHE), Path(_library("huggingface_hub").constants.HF_HUB_CACHE)]
    folder = caches[0] if remote else Path(place)
    cells = [
        (f"{place}:{number}", partial(_cell, column_of_images, number, image, folder, caches if remote else ()))
        for number in range(len(rows))
    ]
    return _listing(cells, rows, others, names, str(place))._replace(stamp=data._fingerprint)


def _cell(data: Any, number: int, image: str, folder: Path, caches: Sequence[Path]) -> bytes:
    return _content(data[number][image], folder, caches)
