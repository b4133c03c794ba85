"""Files that are whole or absent: written beside their place, flushed to disk, and only then put there.

Tensors are safetensors, everything else is JSON; nothing is ever unpickled.
"""

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unmelt.errors import UsageError


def write(path: Path, content: bytes) -> None:
    """Replace the file by `content`, atomically."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror})",
            "a folder with room that can be written to",
            "--out runs/new",
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()  # gone already, unless something went wrong; a Ctrl-C may have


def write_json(path: Path, value: Any) -> None:
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write(path, save(whole, metadata))


def checksum(tensors: dict[str, Tensor]) -> str:
    """Of the contents, to tell a file that was damaged after it was written."""
    total = 0
    for name in sorted(tensors):
        content = tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        total = zlib.crc32(content.data, total)
    return str(total)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata); a file that is missing, cut short or not safetensors is a `UsageError`."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata alone, without what is large."""
    with _opened(path) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"{path} cannot be read ({error})", "the whole file as it was saved", "a copy of it, or training again"
        ) from None
