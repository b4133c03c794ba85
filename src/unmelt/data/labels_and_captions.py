"""Labels and captions of a folder or archive: metadata.csv, metadata.jsonl or metadata.parquet.

The column `file_name` names the image. `caption` or `text` holds the caption and `label` or `class` the class, unless
other columns are named. Names are compared in composed form (NFC) with forward slashes, because a table from one
system may stand beside files from another: macOS decomposes accents, Windows writes backslashes.
"""

import csv
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO, TextIOWrapper
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from unmelt.data.class_names import class_name
from unmelt.data.encoded_text import decoded, encodable, json_lines, printable
from unmelt.data.files import reason
from unmelt.errors import UsageError, nearest

AUTO = "auto"
"""In place of a column's name: whichever of the usual ones there is."""

CAPTIONS, LABELS = ("caption", "text"), ("label", "class")

FILE_NAME = "file_name"

LONGEST = 1 << 20
"""Characters that a caption may have."""


class Metadata(NamedTuple):
    """Labels and captions by the place of the file.

    Args:
        labels: Place to class name.
        captions: Place to caption.
    """

    labels: dict[str, str]
    captions: dict[str, str]


def place(name: str) -> str:
    """The name of a file within its container in one form, whichever system wrote it.

    Args:
        name: The name.

    Returns:
        The name in composed form, with forward slashes and without "./".
    """
    return PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/")).as_posix()


def caption_text(value: Any) -> str | None:
    """A caption as text.

    Args:
        value: The caption as a table or file holds it.

    Returns:
        The text without white space around it; None if nothing is left.

    Raises:
        ValueError: If it is a list, an object or longer than a book.
    """
    if isinstance(value, (list, tuple, dict)):
        raise ValueError("a caption that is not a text")
    if value is None or value != value:  # NaN, which is how pandas writes a missing text
        return None
    text = decoded(value, "replace") if isinstance(value, bytes) else str(value)
    if len(text) > LONGEST:
        raise ValueError(f"a caption of {len(text):,} characters, more than {LONGEST:,}")
    return encodable(text).strip() or None


def column(wanted: str, usual: Sequence[str], available: Sequence[str], where: str) -> str | None:
    """Choose a column of a table.

    Args:
        wanted: Its name; "auto" for the first of the usual names that exists, "" for none.
        usual: The usual names, in order of preference.
        available: The columns that the table has.
        where: Name of the table, for the error message.

    Returns:
        The column's name, or None if none is wanted or "auto" finds none.

    Raises:
        UsageError: If a named column does not exist.
    """
    if wanted == AUTO:
        return next((name for name in usual if name in available), None)
    if wanted and wanted not in available:
        raise UsageError(
            f"{where} has no column {wanted!r}",
            f"one of {', '.join(map(printable, available))}",
            f"{usual[0]}={nearest(wanted, available)!r}",
        )
    return wanted or None


def check_columns(label: str, caption: str, has_table: bool, where: str) -> None:
    """Refuse a named column where there is no table.

    Args:
        label: The wanted column of classes; "auto" and "" are always accepted.
        caption: The wanted column of captions; "auto" and "" are always accepted.
        has_table: Whether there is a table.
        where: Name of the container, for the error message.

    Raises:
        UsageError: If a column is named and there is no table.
    """
    for kind, named in (("label", label), ("caption", caption)):
        if named not in ("", AUTO) and not has_table:
            raise UsageError(
                f"{kind}={named!r}, but nothing in {where} has columns",
                "a metadata.csv, .jsonl or .parquet beside the images, or no column named",
                f"{kind}={AUTO!r}",
            )


def read_metadata(files: Mapping[str, Callable[[], bytes]], label: str, caption: str) -> Metadata:
    """Read the first metadata table among some files.

    Args:
        files: Readers of the candidate files, by file name.
        label: Column of class names; "auto" for a usual name, "" for none.
        caption: Column of captions; "auto" for a usual name, "" for none.

    Returns:
        Its labels and captions; empty if none of the files is a table.

    Raises:
        UsageError: If a table is damaged, has no column `file_name`, or lacks a named column.
    """
    for name, read in sorted(files.items()):
        table = _table(name, read)
        if table is None:
            continue
        columns, rows = table
        if FILE_NAME not in columns:
            raise UsageError(
                f"{name} has no column {FILE_NAME!r}",
                f"it beside {', '.join(map(printable, columns)) or 'a caption'}",
                f"{FILE_NAME},caption",
            )
        chosen = column(label, LABELS, columns, name), column(caption, CAPTIONS, columns, name)
        found = Metadata({}, {})
        for number, row in enumerate(rows, 1):
            try:
                _add(row, found, *chosen)
            except ValueError as error:
                at = f"{name}, row {number}"
                raise UsageError(f"{at}: {error}", "a file name and single values", f"{FILE_NAME},caption") from None
        return found
    return Metadata({}, {})


def _add(row: dict[str, Any], found: Metadata, label: str | None, caption: str | None) -> None:
    if row.get(FILE_NAME) in (None, ""):
        raise ValueError(f"no {FILE_NAME}")
    named = place(str(row[FILE_NAME]))
    if label and (name := class_name(row.get(label))):
        found.labels[named] = name
    if caption and (text := caption_text(row.get(caption))):
        found.captions[named] = text


def _table(name: str, read: Callable[[], bytes]) -> tuple[list[str], list[dict[str, Any]]] | None:
    """The columns and rows of a table; None if the file is not .csv, .jsonl or .parquet."""
    kind = PurePosixPath(name).suffix
    if kind not in (".csv", ".jsonl", ".parquet"):
        return None
    try:
        content = read()
        if kind == ".csv":
            return _csv(content)
        if kind == ".jsonl":
            return _json(content)
    except Exception as error:  # of the archive that it lies in, which may be damaged in any way
        raise UsageError(
            f"{name} cannot be read ({printable(reason(error))})",
            "one row a line, in utf-8",
            f"{FILE_NAME},caption in its first line",
        ) from None
    from unmelt.data.parquet import parquet_table

    return parquet_table(content, name)


def _json(content: bytes) -> tuple[list[str], list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for number, row in json_lines(content):
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: {row if isinstance(row, ValueError) else 'not an object'}")
        rows.append(row)
    return list(dict.fromkeys(key for row in rows for key in row)), rows


def _csv(content: bytes) -> tuple[list[str], list[dict[str, Any]]]:
    # Strict: a quotation mark that is never closed would swallow the rows after it.
    table = csv.reader(TextIOWrapper(BytesIO(content), "utf-8-sig", newline=""), strict=True)
    columns = next(table, [])
    if twice := [each for each in columns if columns.count(each) > 1]:
        raise ValueError(f"two columns called {twice[0]!r}")
    rows = []
    for row in table:
        if len(row) > len(columns):  # most often a caption with a comma in it
            raise ValueError(
                f"line {table.line_num} has {len(row)} values for {len(columns)} columns; a value with a comma in it"
                " is put between quotation marks"
            )
        if any(row):
            rows.append(dict(zip(columns, row, strict=False)))
    return columns, rows
