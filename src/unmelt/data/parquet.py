"""Images in a column: parquet files, and data sets of Hugging Face's `datasets`.

The column holds image files as bytes, or as {bytes, path}, which is how `datasets` writes its Image feature.
"""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from unmelt.data.image_item import Item, Listing
from unmelt.data.labels_and_captions import CAPTIONS, LABELS, column
from unmelt.errors import UsageError

IMAGES = ("image", "img", "jpg", "png", "picture", "bytes")


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise UsageError(f"{name} is not installed", "it, to read this", "pip install 'unmelt[data]'") from None
    except ImportError as error:  # it is there, but not in company that it can work with
        raise UsageError(
            f"{name} cannot be loaded ({str(error).splitlines()[0]})",
            "it, to read this",
            "pip install -U 'unmelt[data]'",
        ) from None


def parquet_rows(file: Any, name: str) -> list[dict[str, Any]]:
    """Read all rows of a small parquet table.

    Args:
        file: Path or file object.
        name: Its name, for the error message.

    Returns:
        One dictionary for each row.

    Raises:
        UsageError: If the file is damaged or pyarrow is not installed.
    """
    try:
        return _library("pyarrow.parquet").read_table(file).to_pylist()
    except (OSError, ValueError) as error:
        raise _damaged(name, error) from None


def _damaged(name: str, error: Exception) -> UsageError:
    return UsageError(f"{name} cannot be read ({error})", "a whole parquet file", "a copy of it")


def parquet(paths: Sequence[Path], label: str, caption: str) -> Listing:
    """List the rows of parquet files, one file after the other; images are read on demand.

    Args:
        paths: The files.
        label: Column of class names; "auto" for a usual name, "" for none.
        caption: Column of captions; "auto" for a usual name, "" for none.

    Returns:
        The listing; its stamp is made of paths, sizes and modification times.

    Raises:
        UsageError: If a file is damaged or has no column of images.
    """
    reader, items = _library("pyarrow.parquet"), []
    for path in paths:
        try:
            file = reader.ParquetFile(path)
            available = file.schema_arrow.names
            image, others = _columns(available, label, caption, path.name)
            rows = file.read(columns=[name for name in others if name]).to_pylist() if any(others) else []
        except (OSError, ValueError) as error:
            raise _damaged(str(path), error) from None
        first = 0
        for group in range(file.num_row_groups):
            cell = _Group(path, group, image)
            count = file.metadata.row_group(group).num_rows
            for row in range(count):
                values = rows[first + row] if rows else {}
                items.append(
                    Item(f"{path.name}:{first + row}", partial(cell, row), *_label_and_caption(values, others))
                )
            first += count
    return Listing(items, repr([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]))


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


def _label_and_caption(row: dict[str, Any], others: tuple[str | None, str | None]) -> tuple[str | None, str | None]:
    """(label, caption) as text."""
    label, caption = (None if name is None or row.get(name) in (None, "") else str(row[name]) for name in others)
    return label, caption


class _Group:
    """The image column of one row group, kept while its rows are being read."""

    def __init__(self, path: Path, group: int, image: str) -> None:
        self.path, self.group, self.image = path, group, image
        self.cells: list[Any] | None = None
        self.left = 0

    def __call__(self, row: int) -> bytes:
        cells = self.cells
        if cells is None:
            table = _library("pyarrow.parquet").ParquetFile(self.path).read_row_group(self.group, [self.image])
            cells = self.cells = table.column(0).to_pylist()
        self.left += 1
        if self.left >= len(cells):
            self.cells, self.left = None, 0
        return _content(cells[row])


def _content(cell: Any) -> bytes:
    if isinstance(cell, dict):
        cell = cell.get("bytes") or Path(cell["path"]).read_bytes()
    if not isinstance(cell, bytes):
        raise ValueError("not the bytes of an image")
    return cell


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
    try:
        if str(place).startswith("hf:"):
            data = library.load_dataset(str(place)[3:])
        else:
            data = library.load_from_disk(str(place))
        data = data[next(iter(data))] if isinstance(data, dict) else data
    except Exception as error:  # of the network, of the hub, of the files
        raise UsageError(
            f"{place} cannot be read as a data set ({str(error).splitlines()[0]})",
            "a folder that datasets' save_to_disk wrote, or a name on the hub",
            "hf:owner/name",
        ) from None
    image, others = _columns(data.column_names, label, caption, str(place))
    features = data.features
    data = data.cast_column(image, library.Image(decode=False)) if hasattr(features[image], "decode") else data
    names = getattr(features[others[0]], "names", None) if others[0] else None

    def label_and_caption(row: dict[str, Any]) -> tuple[str | None, str | None]:
        label_of, caption_of = _label_and_caption(row, others)
        return (names[int(label_of)] if names and label_of is not None else label_of), caption_of

    chosen = [name for name in others if name]
    rows = list(data.select_columns(chosen)) if chosen else [{}] * len(data)
    items = [
        Item(f"{place}:{number}", partial(_cell, data, number, image), *label_and_caption(row))
        for number, row in enumerate(rows)
    ]
    return Listing(items, data._fingerprint)


def _cell(data: Any, number: int, image: str) -> bytes:
    return _content(data[number][image])
