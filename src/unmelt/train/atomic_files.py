"""Files that are whole or absent: written beside their place, flushed to disk, and only then renamed.

Tensors are safetensors, everything else is JSON; nothing is ever unpickled.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unmelt.errors import UsageError


def write(path: Path, content: bytes) -> None:
    """Replace a file's content atomically.

    Args:
        path: The file; its folder must be there.
        content: All of it.

    Raises:
        UsageError: If it cannot be written, as on a full disk. What was there before is then untouched.
    """
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
            "out='runs/new'",
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()  # renamed already, unless an error or a Ctrl-C came before


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically.

    Args:
        path: The file.
        value: Anything that JSON can hold.

    Raises:
        UsageError: If it cannot be written.
    """
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, atomically.

    Args:
        path: The file.
        tensors: Tensors by name, on any device.
        metadata: Further strings by name, in the file's header.

    Raises:
        UsageError: If it cannot be written.
    """
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write(path, save(whole, metadata))


def checksum(tensors: dict[str, Tensor], header: Mapping[str, str] | None = None) -> str:
    """Compute a checksum (CRC-32), to recognise a file that was damaged after it was written.

    Args:
        tensors: Tensors by name.
        header: The other fields of the file's header. They are covered too, with the name, type and shape of each
            tensor. None covers the content of the tensors alone, as in the files of version 0.1.0.

    Returns:
        The checksum, in decimal digits.
    """
    total = 0
    for name in sorted(tensors):
        content = tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        total = zlib.crc32(content.data, total)
    if header is not None:
        layout = {name: [str(value.dtype), list(value.shape)] for name, value in tensors.items()}
        total = zlib.crc32(json.dumps([layout, dict(header)], sort_keys=True).encode(), total)
    return str(total)


def is_whole(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> bool:
    """Whether a file with a checksum is as it was written.

    Args:
        tensors: Its tensors by name.
        metadata: The fields of its header, `checksum` among them. A file with the field `run` has a checksum of its
            header too; version 0.1.0 wrote neither.

    Returns:
        True if the checksum fits.
    """
    header = {name: value for name, value in metadata.items() if name != "checksum"}
    return metadata.get("checksum") == checksum(tensors, header if "run" in header else None)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Args:
        path: The file.

    Returns:
        (tensors by name, metadata by name).

    Raises:
        UsageError: If the file is missing, cut short or not safetensors.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file, without its tensors.

    Args:
        path: The file.

    Returns:
        The metadata by name.

    Raises:
        UsageError: If the file is missing, cut short or not safetensors.
    """
    with _opened(path) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError, RuntimeError) as error:  # torch opens it again, by its name
        raise UsageError(
            f"{path} cannot be read ({error})", "the whole file as it was saved", "a copy of it, or training again"
        ) from None
