"""Where commands write: checked before work is done, and left as it was after a failure.

Below the working directory, missing folders are made. Elsewhere only the last folder of a path is made, in one that
exists: a path whose beginning is missing is a slip of the pen, or a disk that is not mounted.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unmelt.errors import UsageError

BEGINNINGS = {".png": (b"\x89PNG\r\n\x1a\n",), ".npy": (b"\x93NUMPY",), ".wav": (b"RIFF",)}
"""How files of each suffix begin."""

FILES = (".png", ".jpg", ".jpeg", ".npy", ".npz", ".txt", ".wav", ".json", ".safetensors", ".ckpt", ".pt", ".zip")
"""Suffixes that a folder's name does not have, unless it was meant to be a file."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that a command cannot write to, or that should not be made. Makes nothing.

    Args:
        folder: The output folder.

    Raises:
        UsageError: If it is named as a file, cannot be written to, or the folders above it do not exist.
    """
    from unmelt import run_folder

    if folder.suffix.lower() in FILES and not folder.is_dir():
        raise UsageError(f"the output {folder}", "a folder, without a file's suffix", f"--out {folder.with_suffix('')}")
    run_folder.writable(folder)
    _check_parents(folder)


def check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that a command cannot write, or that holds something else. Makes nothing.

    Args:
        path: The output file.
        suffixes: The suffixes of files that can be written, the default first.

    Raises:
        UsageError: If the suffix is unknown, the folder cannot be written to or should not be made, or there is a file
            of another kind.
    """
    from unmelt import run_folder
    from unmelt.modality import check_suffix

    check_suffix(path, suffixes)
    run_folder.writable(path.parent)
    _check_parents(path.parent)
    instead = f"--out {path.with_stem(path.stem + '-new')}"
    if path.exists() and not path.is_file():
        raise UsageError(f"the output {path}, which is no file", "the name of a file", instead)
    if path.is_file() and path.stat().st_size and not _is_kind(path):
        raise UsageError(f"the output {path}, which holds something other than its name says", "another name", instead)


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Inside, a folder exists; after a failure, folders that were made for it and hold nothing are gone again.

    Args:
        folder: The output folder.
    """
    from unmelt import run_folder

    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    run_folder.prepare(folder)
    try:
        yield
    except BaseException:
        for place in missing:
            with suppress(OSError):
                place.rmdir()
        raise


def _is_kind(path: Path) -> bool:
    """Whether a file begins as files of its suffix do; text is what has no byte 0 in it."""
    with open(path, "rb") as file:
        start = file.read(4096)
    wanted = BEGINNINGS.get(path.suffix.lower())
    return b"\0" not in start if wanted is None else start.startswith(wanted)


def _check_parents(folder: Path) -> None:
    whole, here = Path(os.path.abspath(folder)), Path.cwd()
    if whole.is_dir() or whole.is_relative_to(here) or whole.resolve().is_relative_to(here.resolve()):
        return
    above = whole.parent
    if not above.is_dir() or above == Path(above.anchor):
        there = next(place for place in whole.parents if place.is_dir())
        missing = whole if above.is_dir() else above
        raise UsageError(
            f"there is no folder {missing} to write in",
            f"an existing one; {there} exists",
            f"--out {Path('runs') / whole.name}",
        )
