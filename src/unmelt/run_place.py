"""Where a run may be written: apart from the data that it learns from.

A run folder in the folder of its data makes that a run folder, which no recipe reads as data any more.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unmelt.errors import UsageError
from unmelt.near_path import is_run


def check_apart(folder: Path, origin: Mapping[str, Any]) -> None:
    """Refuse to begin a run inside of, in or above the folder of its own data: neither could be read apart again.

    Args:
        folder: The output folder. One that is a run already is accepted: it can be resumed.
        origin: The recipe and its settings; the data are where its setting `folder` or `text` says.

    Raises:
        UsageError: If one of the two folders holds the other. Links are followed.
    """
    settings = origin.get("settings")
    named = settings.get("folder", settings.get("text")) if isinstance(settings, Mapping) else None
    if not isinstance(named, str | Path) or not Path(named).is_dir() or is_run(folder):
        return
    data = Path(os.path.abspath(named))
    if (where := _holds(folder, data)) is None:
        return
    choices = (Path("runs", data.name), data.parent / "runs" / data.name, data.with_name(f"{data.name}-run"))
    apart = next((each for each in choices if _holds(each, data) is None), choices[-1])
    raise UsageError(
        f"the output {folder} is {where} {data}", "a run folder apart from the data", f"out={str(apart)!r}"
    )


def _holds(folder: Path, data: Path) -> str | None:
    """How a folder and the data lie in each other; None if they do not."""
    run, source = Path(os.path.realpath(folder)), Path(os.path.realpath(data))
    if _is_same(run, source):
        return "the folder of the data itself,"
    if any(_is_same(up, source) for up in run.parents):
        return "inside of the folder of the data,"
    return "above the folder of the data," if any(_is_same(up, run) for up in source.parents) else None


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one folder, whatever the case of their letters where that does not count."""
    return one == other or (one.exists() and other.exists() and os.path.samefile(one, other))
