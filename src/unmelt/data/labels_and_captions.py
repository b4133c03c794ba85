"""Labels and captions of a folder or archive: metadata.csv, metadata.jsonl or metadata.parquet.

The column `file_name` names the image. `caption` or `text` holds the caption and `label` or `class` the class, unless
other columns are named.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO, StringIO
from typing import Any, NamedTuple

from unmelt.errors import UsageError, nearest

AUTO = "auto"
"""In place of a column's name: whichever of the usual ones there is."""

CAPTIONS, LABELS = ("caption", "text"), ("label", "class")


class Metadata(NamedTuple):
    """Labels and captions by file name.

    Args:
        labels: File name to class name.
        captions: File name to caption.
    """

    labels: dict[str, str]
    captions: dict[str, str]


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
            f"one of {', '.join(available)}",
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
        rows = _rows(name, read)
        if rows is None:
            continue
        columns = list(dict.fromkeys(key for row in rows for key in row))
        if "file_name" not in columns:
            raise UsageError(
                f"{name} has no column 'file_name'", f"it beside {', '.join(columns)}", "file_name,caption"
            )
        chosen = column(label, LABELS, columns, name), column(caption, CAPTIONS, columns, name)
        labels, captions = (
            {str(row["file_name"]): str(row[each]) for row in rows if row.get(each) not in (None, "")} if each else {}
            for each in chosen
        )
        return Metadata(labels, captions)
    return Metadata({}, {})


def _rows(name: str, read: Callable[[], bytes]) -> list[dict[str, Any]] | None:
    """The rows of a table; None if the file is not .csv, .jsonl or .parquet."""
    try:
        if name.endswith(".csv"):
            return list(csv.DictReader(StringIO(read().decode("utf-8-sig"))))
        if name.endswith(".jsonl"):
            rows = [json.loads(line) for line in read().splitlines() if line.strip()]
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("a line that is not an object")
            return rows
    except (ValueError, csv.Error) as error:
        raise UsageError(
            f"{name} cannot be read ({error})", "one row a line, in utf-8", "file_name,caption in its first line"
        ) from None
    if name.endswith(".parquet"):
        from unmelt.data.parquet import parquet_rows

        return parquet_rows(BytesIO(read()), name)
    return None
