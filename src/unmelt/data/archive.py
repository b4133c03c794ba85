"""Images in zip and tar files, read where they lie and never unpacked to disk; WebDataset's shards among them.

pets.zip, pets.tar                 as a folder: subfolders are classes, .txt beside an image is its caption
shard-{000..012}.tar, shards/*.tar WebDataset: what has one key is one example: key.jpg with key.txt, key.cls, key.json
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

from unmelt.data.item import SUFFIXES, Item, Listing
from unmelt.data.metadata import CAPTIONS, LABELS, column, in_table, known
from unmelt.errors import UsageError

LARGEST = 1 << 30
"""Bytes that one member may unpack to."""

Members = dict[str, Callable[[], bytes]]
"""How to read each file of an archive, by its name there."""


def archive(paths: Sequence[Path], label: str, caption: str) -> Listing:
    """All images of these archives, in a fixed order."""
    items, loose = [], 0
    for path in paths:
        found = _items(_members(path), label, caption, path.name)
        items += found.items
        loose += found.loose
    if not items:
        names = ", ".join(path.name for path in paths[:3])
        raise UsageError(f"no images in {names}", "files that end in .jpg, .png and the like", "a zip of images")
    return Listing(items, repr([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]), loose)


def shards(pattern: str) -> list[Path]:
    """The files that a pattern with {000..012} or * means."""
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
    """Whether a person put it there: no folder, nothing that starts with a dot, nothing of the Finder's."""
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
    in_table(label, caption, bool(tables) or described, where)
    told = known(tables, label, caption)
    items, loose = [], 0
    for name in names:
        place = inside[name]
        beside = _beside(name, members, label, caption, where)
        of = beside[0] or told.labels.get(place.as_posix()) or (place.parts[0] if len(place.parts) > 1 else None)
        if classes and of is None:
            loose += 1
            continue
        items.append(Item(name, members[name], of, beside[1] or told.captions.get(place.as_posix())))
    return Listing(items, "", loose)


def _common_folder(names: Sequence[str]) -> PurePosixPath:
    """The one folder that all lie in, if an archive was made of a folder; its class folders lie below."""
    parents = {PurePosixPath(name).parts[:-1] for name in names}
    top: tuple[str, ...] = ()
    while parents and all(len(p) > len(top) for p in parents) and len({p[: len(top) + 1] for p in parents}) == 1:
        top = next(iter(parents))[: len(top) + 1]
    return PurePosixPath(*top)


def _beside(name: str, members: Members, label: str, caption: str, where: str) -> tuple[str | None, str | None]:
    """(label, caption) from the files with the same key."""
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
