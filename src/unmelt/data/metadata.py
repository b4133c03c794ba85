"""What a table says of images in a folder or an archive: metadata.csv, metadata.jsonl or metadata.parquet.

A column `file_name` names the image; `caption` or `text` is what it shows and `label` what it is, unless other columns
are named.
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


class Known(NamedTuple):
    """By an image's name."""

    labels: dict[str, str]
    captions: dict[str, str]


def column(wanted: str, usual: Sequence[str], there: Sequence[str], where: str) -> str | None:
    """The column that is meant, of those that are there; None where none is."""
    if wanted == AUTO:
        return next((name for name in usual if name in there), None)
    if wanted and wanted not in there:
        raise UsageError(
            f"{where} has no column {wanted!r}", f"one of {', '.join(there)}", f"{usual[0]}={nearest(wanted, there)!r}"
        )
    return wanted or None


def in_table(label: str, caption: str, table: bool, where: str) -> None:
    """Refuse columns that were named where there is no table to have them."""
    for kind, named in (("label", label), ("caption", caption)):
        if named not in ("", AUTO) and not table:
            raise UsageError(
                f"{kind}={named!r}, but nothing in {where} has columns",
                "a metadata.csv, .jsonl or .parquet beside the images, or no column named",
                f"{kind}={AUTO!r}",
            )


def known(files: Mapping[str, Callable[[], bytes]], label: str, caption: str) -> Known:
    """What the table among these files says, if there is one."""
    for name, read in sorted(files.items()):
        rows = _rows(name, read)
        if rows is None:
            continue
        there = list(dict.fromkeys(key for row in rows for key in row))
        if "file_name" not in there:
            raise UsageError(f"{name} has no column 'file_name'", f"it beside {', '.join(there)}", "file_name,caption")
        chosen = column(label, LABELS, there, name), column(caption, CAPTIONS, there, name)
        labels, captions = (
            {str(row["file_name"]): str(row[each]) for row in rows if row.get(each) not in (None, "")} if each else {}
            for each in chosen
        )
        return Known(labels, captions)
    return Known({}, {})


def _rows(name: str, read: Callable[[], bytes]) -> list[dict[str, Any]] | None:
    """The rows of a table; None if it is not called one."""
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
        from unmelt.data.table import parquet_rows

        return parquet_rows(BytesIO(read()), name)
    return None
