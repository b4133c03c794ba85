"""What there is near a path that does not exist, or that holds something else than is asked for."""

import difflib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

RUN = ("config.json", "model.safetensors")
"""Files that every run folder has."""

MOST = 1000
"""Entries of a folder that are looked at."""

LISTED = 5
"""Entries that a message lists."""

DATA = {
    "images": {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".parquet", ".tar", ".zip", ".npz"},
    "text": {".txt", ".md", ".jsonl", ".ndjson", ".py"},
}
"""Suffixes of the files that recipes learn from."""


def is_run(folder: Path) -> bool:
    """Whether a folder is one that training wrote.

    Args:
        folder: The folder.

    Returns:
        True if it has the files of a run.
    """
    return all((folder / name).is_file() for name in RUN)


def entries(folder: Path) -> list[Path]:
    """What is in a folder, without hidden files.

    Args:
        folder: The folder.

    Returns:
        Paths in order; none if the folder cannot be read.
    """
    try:
        return sorted(path for path in islice(folder.iterdir(), MOST) if not path.name.startswith("."))
    except OSError:
        return []


def near(path: Path) -> Path | None:
    """An existing path of a similar name: misspelt in one place, or one folder off.

    Args:
        path: A path that does not exist.

    Returns:
        The path, as it may be written in place of the other; None if there is none.
    """
    return next((each for each in _candidates(path) if each.exists()), None)


def _candidates(path: Path) -> Iterator[Path]:
    parts = path.parts
    base = next((up for up in path.parents if up.is_dir()), None)
    if base is None:
        return
    missing = parts[len(base.parts) if base != Path() else 0 :]
    names = [each.name for each in entries(base)]
    lower = {name.lower(): name for name in names}
    similar = difflib.get_close_matches(missing[0].lower(), lower, n=3, cutoff=0.6)
    yield from (base.joinpath(lower[name], *missing[1:]) for name in similar)
    yield from (base.joinpath(name, *missing) for name in names)  # a folder was left out
    if len(missing) > 1:
        yield base.joinpath(*missing[1:])  # a folder too many
    yield base / path.name
    yield Path(path.name)


def holds(folder: Path) -> str:
    """What is in a folder, for an error message.

    Args:
        folder: The folder.

    Returns:
        A clause with the first names.
    """
    names = [each.name + ("/" if each.is_dir() else "") for each in entries(folder)]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{folder} holds {', '.join(names[:LISTED])}{more}" if names else f"{folder} is empty"


def not_a_run(folder: Path) -> tuple[str, str, str]:
    """Say why a path is no run folder, and what is to be written in its place.

    Args:
        folder: The path.

    Returns:
        (what is there, what is needed, a call that works).
    """
    train = "um.recipe.digits().fit(out='runs/digits')"
    needed = "a folder that training wrote"
    if inside := [up for up in [*folder.absolute().parents][:2] if is_run(up)]:
        return f"{folder} is inside a run, and not the run", needed, _load(inside[0])
    if folder.is_dir():
        given, base, found = f"{folder} has no {RUN[0]}", folder, None
    else:
        given = f"{folder} is a file" if folder.exists() else f"there is no run folder {folder}"
        base = next((up for up in folder.parents if up.is_dir()), Path.cwd())
        found = None if folder.exists() else near(folder)
    runs = [each for each in entries(base) if is_run(each)]
    if found is not None and is_run(found):
        runs = [found, *(each for each in runs if each != found)]
    if runs:
        more = f" and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
        return given, f"a run folder, such as {', '.join(map(str, runs[:LISTED]))}{more}", _load(runs[0])
    two_deep = [*entries(folder), *(each for inner in entries(folder) if inner.is_dir() for each in entries(inner))]
    suffixes = {each.suffix.lower() for each in two_deep}
    for recipe, kinds in DATA.items():
        if suffixes & kinds:
            return f"{given}; it holds {recipe}", needed, f"um.recipe.{recipe}(folder={str(folder)!r}).fit()"
    return given if folder.is_file() else f"{given}; {holds(base)}", needed, train


def _load(folder: Path) -> str:
    return f"um.load({str(folder)!r})"


def not_data(path: Path, example: str) -> tuple[str, str] | None:
    """Say why there are no data at a path, and what is to be written in its place.

    Args:
        path: The path.
        example: A path of such data.

    Returns:
        (what is there, a setting or a call that works); None if there is something to read at the path.
    """
    if not path.exists():
        found, base = near(path), next((up for up in path.absolute().parents if up.is_dir()), Path.cwd())
        given = f"there is no {path}" + ("" if found else f"; {holds(base)}")
        return given, f"folder={str(found or example)!r}"
    if path.is_dir() and is_run(path):
        return f"{path} is a run folder, and holds no data", f"{_load(path)}.sample(16)"
    return None
