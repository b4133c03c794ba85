"""Images in zip and tar files, read in place and never unpacked to disk; WebDataset shards are tar files of this kind.

pets.zip, pets.tar                 like a folder: subfolders are classes, a .txt beside an image is its caption
shard-{000..012}.tar, shards/*.tar WebDataset: files with the same key form one example: key.jpg, .txt, .cls, .json
"""

import bz2
import gzip
import lzma
import os
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import Any

from unmelt.data.class_names import class_name
from unmelt.data.encoded_text import decoded, parsed
from unmelt.data.files import EXPANSION, LARGEST, check_expansion, reason, too_large
from unmelt.data.image_item import SUFFIXES, DamagedError, Item, Listing, joined
from unmelt.data.labels_and_captions import (
    CAPTIONS,
    LABELS,
    caption_text,
    check_columns,
    column,
    place,
    read_metadata,
)
from unmelt.errors import UsageError

Members = dict[str, Callable[[], bytes]]
"""How to read each file of an archive, by its name there in one form, without "./"."""

COMPRESSED: Mapping[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
"""How to open a compressed tar, by its first bytes."""


def archive(paths: Sequence[Path], label: str, caption: str) -> Listing:
    """List all images of some archives, in a fixed order.

    Args:
        paths: The archives, read in this order.
        label: Column of class names in metadata or JSON; "auto" for a usual name, "" for no classes.
        caption: Column of captions; "auto" for a usual name or a .txt beside each image, "" for none.

    Returns:
        The listing; its stamp is made of the archives' paths, sizes and modification times. Of several archives those
        that cannot be read are left out.

    Raises:
        UsageError: If no archive can be read or there is no image in any of them.
    """
    found = joined(paths, lambda path: _items(_members(path), label, caption, path.name), "a whole archive")
    if not found.items and not found.broken:
        names = ", ".join(path.name for path in paths[:3])
        raise UsageError(f"no images in {names}", "files that end in .jpg, .png and the like", "a zip of images")
    return found


def shards(pattern: str) -> list[Path]:
    """The files that a pattern with {000..012} or * stands for.

    Args:
        pattern: A path with one numeric range in braces, or with wildcards in its last part.

    Returns:
        The paths: in the order of the range, or sorted by name.

    Raises:
        UsageError: If nothing matches, or a file of the range does not exist.
    """
    if span := re.search(r"\{(\d{1,18})\.\.(\d{1,18})\}", pattern):
        low, high = span[1], span[2]
        paths = []
        for number in range(int(low), int(high) + 1):  # as many as exist: the range may claim any number
            paths.append(Path(pattern.replace(span[0], str(number).zfill(len(low)))))
            if not paths[-1].is_file():
                break
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
    except Exception as error:  # a damaged archive can raise anything at all
        raise DamagedError(reason(error)) from None


def _shown(name: str) -> bool:
    """Whether this is an ordinary file: no folder, no hidden file, no macOS resource fork (__MACOSX)."""
    parts = [part for part in PurePosixPath(place(name)).parts if part != ".."]
    return not name.endswith("/") and not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _in_zip(path: Path) -> Members:
    file = zipfile.ZipFile(path)

    def read(info: zipfile.ZipInfo) -> bytes:
        if info.flag_bits & 1:
            raise ValueError("encrypted")
        if info.file_size > LARGEST:
            raise ValueError(too_large(info.file_size))
        check_expansion(info.file_size, info.compress_size)
        return file.read(info)

    return {place(info.filename): partial(read, info) for info in file.infolist() if _shown(info.filename)}


class _Unpacked(BufferedIOBase):
    """What a file unpacks to, as far as that is not more than a file of its size may.

    Args:
        path: The file, compressed or not.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            begin = file.read(8)
        opener = next((opener for magic, opener in COMPRESSED.items() if begin.startswith(magic)), open)
        self._file = opener(path, "rb")
        packed = path.stat().st_size
        self._limit = packed if opener is open else max(LARGEST, EXPANSION * packed)
        what = "are in the file" if opener is open else "it may unpack to; a decompression bomb?"
        self._beyond = f"it claims more than the {self._limit:,} bytes that {what}"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and offset > self._limit:  # before all that lies between is unpacked
            raise ValueError(self._beyond)
        return int(self._file.seek(offset, whence))

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= LARGEST or self.tell() > self._limit:
            raise ValueError(self._beyond)
        return bytes(self._file.read(size))


def _in_tar(path: Path) -> Members:
    one_at_a_time = threading.Lock()
    if path.suffix == ".tar" and _last_block(path).strip(b"\0"):
        raise tarfile.ReadError("it was cut short: its last block is not empty")
    file = tarfile.open(fileobj=_Unpacked(path), mode="r:")  # noqa: SIM115, it stays open for as long as it is read
    found: dict[str, tarfile.TarInfo] = {}
    for member in file:
        if _shown(member.name) and not member.isdir():
            # A hard link is another name of a file before it. All other links are left out: they may lead anywhere.
            linked = found.get(place(member.linkname)) if member.islnk() else None
            found[place(member.name)] = linked or member

    def read(member: tarfile.TarInfo) -> bytes:
        if not member.isfile():
            raise ValueError("a link or a device, not a regular file")
        if member.size > LARGEST:
            raise ValueError(too_large(member.size))
        with one_at_a_time:
            content = file.extractfile(member)
            return content.read() if content is not None else b""

    return {name: partial(read, member) for name, member in found.items()}


def _last_block(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-512, os.SEEK_END)
        return file.read()


def _items(members: Members, label: str, caption: str, where: str) -> Listing:
    every = sorted(name for name in members if PurePosixPath(name).suffix.lower() in SUFFIXES)
    names = [name for name in every if ".." not in PurePosixPath(name).parts]
    top = _common_folder(names)
    inside = {name: PurePosixPath(name).relative_to(top) for name in names}
    classes = label != "" and any(len(path.parts) > 1 for path in inside.values())
    tables = {PurePosixPath(n).name: read for n, read in members.items() if PurePosixPath(n).stem == "metadata"}
    described = any(f"{PurePosixPath(name).with_suffix('')}.json" in members for name in names)
    check_columns(label, caption, bool(tables) or described, where)
    metadata = read_metadata(tables, label, caption)
    broken = [(name, "a name that leads out of the archive") for name in every if name not in inside]
    items, unclassified = [], 0
    for name in names:
        path = inside[name]
        try:
            label_beside, caption_beside = _sidecars(name, members, label, caption, where)
        except UsageError:
            raise
        except Exception as error:  # of the archive, which may be damaged in any way
            broken.append((name, f"the label or caption beside it: {reason(error)}"))
            continue
        class_folder = class_name(path.parts[0]) if len(path.parts) > 1 else None
        kind = label_beside or metadata.labels.get(path.as_posix()) or class_folder
        if classes and kind is None:
            unclassified += 1
            continue
        text = caption_beside or metadata.captions.get(path.as_posix())
        items.append(Item(name, members[name], kind, text))
    return Listing(items, unclassified=unclassified, broken=broken)


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
    if f"{stem}.json" in members and (label or caption):
        about = parsed(members[f"{stem}.json"]())
        if isinstance(about, dict):
            chosen = column(label, LABELS, list(about), where), column(caption, CAPTIONS, list(about), where)
            found = {kind: about[each] for kind, each in zip(("cls", "txt"), chosen, strict=True) if each}
    for kind, wanted in (("cls", label), ("txt", caption)):
        if wanted and f"{stem}.{kind}" in members:
            found[kind] = decoded(members[f"{stem}.{kind}"](), "backslashreplace" if kind == "cls" else "replace")
    return class_name(found.get("cls")) if label else None, caption_text(found.get("txt")) if caption else None
