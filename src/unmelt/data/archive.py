"""Images in zip and tar files, read in place and never unpacked to disk; WebDataset shards are tar files of this kind.

pets.zip, pets.tar                 like a folder: subfolders are classes, a .txt beside an image is its caption
shard-{000..012}.tar, shards/*.tar WebDataset: files with the same key form one example: key.jpg, .txt, .cls, .json
"""

import json
import os
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from unmelt.data.image_item import SUFFIXES, Item, Listing
from unmelt.data.labels_and_captions import CAPTIONS, LABELS, check_columns, column, read_metadata
from unmelt.errors import UsageError

LARGEST = 1 << 30
"""Bytes that one member may unpack to."""

Members = dict[str, Callable[[], bytes]]
"""How to read each file of an archive, by its name there."""


def archive(paths: Sequence[Path], label: str, caption: str) -> Listing:
    """List all images of some archives, in a fixed order.

    Args:
        paths: The archives, read in this order.
        label: Column of class names in metadata or JSON; "auto" for a usual name, "" for no classes.
        caption: Column of captions; "auto" for a usual name or a .txt beside each image, "" for none.

    Returns:
        The listing; its stamp is made of the archives' paths, sizes and modification times.

    Raises:
        UsageError: If an archive cannot be read or there is no image in any of them.
    """
    items, unclassified = [], 0
    for path in paths:
        found = _items(_members(path), label, caption, path.name)
        items += found.items
        unclassified += found.unclassified
    if not items:
        names = ", ".join(path.name for path in paths[:3])
        raise UsageError(f"no images in {names}", "files that end in .jpg, .png and the like", "a zip of images")
    identity = repr([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths])
    return Listing(items, identity, unclassified)


def shards(pattern: str) -> list[Path]:
    """The files that a pattern with {000..012} or * stands for.

    Args:
        pattern: A path with one numeric range in braces, or with wildcards in its last part.

    Returns:
        The paths: in the order of the range, or sorted by name.

    Raises:
        UsageError: If nothing matches, or a file of the range does not exist.
    """
    if span := re.search(r"\{(\d+)\.\.(\d+)\}", pattern):
        low, high = span[1], span[2]
        numbers = (str(number).zfill(len(low)) for number in range(int(low), int(high) + 1))
        paths = [Path(pattern.replace(span[0], number)) for number in numbers]
    else:
        last = Path(pattern)
        paths = sorted(last.parent.glob(last.name))
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise UsageError(
            f"there is no {missing[0] if missing else pattern}", "every shard that is named", "shard-{000..012}.tar"
        )
    return paths


def _members(path: Path) -> Members:
    try:
        return _in_zip(path) if path.suffix.lower() == ".zip" else _in_tar(path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise UsageError(
            f"{path} cannot be read ({str(error) or type(error).__name__})", "a whole archive", "a copy of it"
        ) from None


def _shown(name: str) -> bool:
    """Whether this is an ordinary file: no folder, no hidden file, no macOS resource fork (__MACOSX)."""
    parts = PurePosixPath(name).parts
    return not name.endswith("/") and not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _in_zip(path: Path) -> Members:
    file = zipfile.ZipFile(path)

    def read(info: zipfile.ZipInfo) -> bytes:
        if info.flag_bits & 1:
            raise ValueError("encrypted")
        if info.file_size > LARGEST:
            raise ValueError("too large when unpacked, a zip bomb?")
        return file.read(info)

    return {info.filename: partial(read, info) for info in file.infolist() if _shown(info.filename)}


def _in_tar(path: Path) -> Members:
    one_at_a_time = threading.Lock()
    file = tarfile.open(path)  # noqa: SIM115, it stays open for as long as it is read
    members = [member for member in file if member.isfile() and _shown(member.name)]
    if path.suffix == ".tar" and _last_block(path).strip(b"\0"):
        raise tarfile.ReadError("it was cut short: its last block is not empty")

    def read(member: tarfile.TarInfo) -> bytes:
        if member.size > LARGEST:
            raise ValueError("too large")
        with one_at_a_time:
            content = file.extractfile(member)
            return content.read() if content is not None else b""

    return {member.name: partial(read, member) for member in members}


def _last_block(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-512, os.SEEK_END)
        return file.read()


def _items(members: Members, label: str, caption: str, where: str) -> Listing:
    names = sorted(name for name in members if PurePosixPath(name).suffix.lower() in SUFFIXES)
    top = _common_folder(names)
    inside = {name: PurePosixPath(name).relative_to(top) for name in names}
    classes = label != "" and any(len(place.parts) > 1 for place in inside.values())
    tables = {PurePosixPath(n).name: read for n, read in members.items() if PurePosixPath(n).stem == "metadata"}
    described = any(f"{PurePosixPath(name).with_suffix('')}.json" in members for name in names)
    check_columns(label, caption, bool(tables) or described, where)
    metadata = read_metadata(tables, label, caption)
    items, unclassified = [], 0
    for name in names:
        place = inside[name]
        label_beside, caption_beside = _sidecars(name, members, label, caption, where)
        class_folder = place.parts[0] if len(place.parts) > 1 else None
        class_name = label_beside or metadata.labels.get(place.as_posix()) or class_folder
        if classes and class_name is None:
            unclassified += 1
            continue
        text = caption_beside or metadata.captions.get(place.as_posix())
        items.append(Item(name, members[name], class_name, text))
    return Listing(items, "", unclassified)


def _common_folder(names: Sequence[str]) -> PurePosixPath:
    """The folder that all images lie in, if the archive holds a single one; class folders are looked for below it."""
    parents = {PurePosixPath(name).parts[:-1] for name in names}
    top: tuple[str, ...] = ()
    while parents and all(len(p) > len(top) for p in parents) and len({p[: len(top) + 1] for p in parents}) == 1:
        top = next(iter(parents))[: len(top) + 1]
    return PurePosixPath(*top)


def _sidecars(name: str, members: Members, label: str, caption: str, where: str) -> tuple[str | None, str | None]:
    """(label, caption) from the .json, .cls and .txt files with the same key."""
    stem = str(PurePosixPath(name).with_suffix(""))
    found: dict[str, Any] = {}
    if f"{stem}.json" in members:
        try:
            about = json.loads(members[f"{stem}.json"]())
        except ValueError:
            about = None
        if isinstance(about, dict):
            chosen = column(label, LABELS, list(about), where), column(caption, CAPTIONS, list(about), where)
            found = {kind: about[each] for kind, each in zip(("cls", "txt"), chosen, strict=True) if each}
    for kind in ("cls", "txt"):
        if f"{stem}.{kind}" in members:
            found[kind] = members[f"{stem}.{kind}"]().decode("utf-8", errors="replace").strip()
    caption_of = found.get("txt") if caption else None
    return (str(found["cls"]) if found.get("cls") not in (None, "") else None), (
        str(caption_of) if caption_of else None
    )
