"""A folder of captioned pictures, as the recipes of images read one: PNG files, metadata.csv and the licence."""

import csv
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL.Image import Image

from unmelt.errors import UsageError
from unmelt.progress import Progress

METADATA, LICENCE = "metadata.csv", "LICENCE.txt"


class CaptionedPicture(NamedTuple):
    """One picture.

    Args:
        name: Of its file, without suffix.
        picture: The picture.
        caption: What it shows.
        label: Its class; empty for none.
    """

    name: str
    picture: Image
    caption: str
    label: str = ""


def write_captioned(
    out: Path, pictures: Iterable[CaptionedPicture], total: int, what: str, licence: str, quiet: bool = False
) -> Path:
    """Write a folder of captioned pictures, all of it or nothing.

    Args:
        out: The folder to make.
        pictures: The pictures. Classes are written if every picture has one.
        total: How many there are, for the report of progress.
        what: What they are, for that report.
        licence: Their licence.
        quiet: Whether to show no progress.

    Returns:
        The folder.

    Raises:
        UsageError: If the folder exists.
    """
    if out.exists():
        raise UsageError(f"the folder {out} exists", "a new folder", repr(f"{out}-new"))
    progress, rows = Progress(what, total, quiet), []
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.absolute().parent) as temporary:
        made = Path(temporary) / out.name
        made.mkdir()
        for each in pictures:
            each.picture.save(made / f"{each.name}.png")
            rows.append((f"{each.name}.png", each.caption, each.label))
            progress.advance()
        columns = 3 if all(label for *_, label in rows) else 2
        with open(made / METADATA, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(row[:columns] for row in [("file_name", "caption", "label"), *rows])
        (made / LICENCE).write_text(f"{licence}\n", encoding="utf-8")
        shutil.move(made, out)
    return out
