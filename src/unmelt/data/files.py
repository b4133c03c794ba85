"""Files of a folder that somebody else may have made: regular files only, of bounded size, from inside the folder.

A pipe blocks for ever, a device never ends, a sparse file claims terabytes, a file may vanish after it was listed, and
a link in an extracted archive may lead to a private file. Each is one file that cannot be read, with a reason.
"""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from unmelt.near_path import is_run

LARGEST = 256 << 20
"""Bytes that one image, table or caption may have: as many as the largest picture of which Pillow does not warn."""

EXPANSION = 200
"""How many times its compressed size something may have. Text reaches 20, a drawing 100, a decompression bomb 1000."""


class Folder(NamedTuple):
    """What a folder holds, at any depth. Names that start with a dot are ignored.

    Args:
        files: Everything that is not a folder, sorted by path.
        skipped: (path, reason) of every folder that was not entered: those that cannot be, and links.
    """

    files: list[Path]
    skipped: list[tuple[Path, str]]


def walk(top: Path) -> Folder:
    """List a folder, without the run folders in it: their pictures and texts are samples of a model.

    Links to folders are not followed: they may lead around in circles, or anywhere.

    Args:
        top: The folder.

    Returns:
        Its files and the folders that were not entered.
    """
    files: list[Path] = []
    skipped: list[tuple[Path, str]] = []

    def failed(error: OSError) -> None:
        skipped.append((Path(error.filename), reason(error)))

    for parent, subfolders, names in os.walk(top, onerror=failed):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        links = [Path(parent, name) for name in subfolders if os.path.islink(Path(parent, name))]
        skipped += [(link, "a link to a folder, which is not followed") for link in links]
        runs = [name for name in subfolders if is_run(Path(parent, name))]
        skipped += [(Path(parent, name), "a run folder, which holds no data") for name in runs]
        subfolders[:] = [name for name in subfolders if name not in runs]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return Folder(sorted(files), sorted(skipped))


def read(path: Path, inside: Path | None = None, most: int = LARGEST) -> bytes:
    """The content of a regular file. It never blocks.

    Args:
        path: The file.
        inside: The folder that a link may not leave; None for anywhere. A snapshot in the cache of the Hub may link to
            the blobs beside it, of which it consists.
        most: Bytes that it may have.

    Returns:
        The content.

    Raises:
        ValueError: If it lies outside the folder, is no regular file or is too large.
        OSError: If it does not exist or cannot be read.
    """
    path = Path(os.path.realpath(path))
    if inside is not None:
        top = Path(os.path.realpath(inside))
        top = top.parent.parent if top.parent.name == "snapshots" else top
        if not path.is_relative_to(top):
            raise ValueError("a link that leads out of the folder")
    # The path has no links left: one that takes its place in the meantime is not followed.
    flags = sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC"))
    if not stat.S_ISREG(os.stat(path).st_mode):  # before it is opened: opening some devices has consequences
        raise ValueError("not a regular file")
    with open(os.open(path, os.O_RDONLY | flags), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("not a regular file")
        if about.st_size > most:
            raise ValueError(too_large(about.st_size, most))
        return file.read(about.st_size)


def too_large(size: int, most: int = LARGEST) -> str:
    """The reason for which something is not read.

    Args:
        size: Its bytes.
        most: Bytes that it may have.

    Returns:
        The reason, for a report.
    """
    return f"{size:,} bytes, more than the {most:,} that are read"


def check_expansion(unpacked: int, packed: int) -> None:
    """Refuse a decompression bomb before it is unpacked.

    Args:
        unpacked: Bytes that something has when it is unpacked.
        packed: Bytes that it has now.

    Raises:
        ValueError: If it is large and grows more than a file of images or numbers does.
    """
    if unpacked > LARGEST // 16 and unpacked > EXPANSION * packed:
        raise ValueError(f"{packed:,} bytes that unpack to {unpacked:,}, a decompression bomb?")


def signature(path: Path) -> tuple[str, int, int] | tuple[str]:
    """What changes when a file does.

    Args:
        path: The file.

    Returns:
        Its path, size and modification time; the path alone if there is no such file any more.
    """
    try:
        about = path.stat()
    except OSError:
        return (str(path),)
    return str(path), about.st_size, about.st_mtime_ns


def reason(error: BaseException) -> str:
    """Why something could not be read, in one line.

    Args:
        error: What was raised.

    Returns:
        The reason, for a report.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), "") or type(error).__name__
