"""Arrays of images in .npy and .npz files.

An array is [n, height, width], [n, height, width, channels] or [n, channels, height, width], bytes or floats in
[0, 1]. In an .npz, the array of images is the one with three or four dimensions. A vector of the same length, [n] or
[n, 1], holds the classes: the one that is named, or `label`, `class`, `labels`, or else any. Pickled objects are
refused.

Headers are read first. What they claim is compared with what the file has before any memory is taken for it.
"""

import math
import zipfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmelt.data.class_names import class_name
from unmelt.data.files import check_expansion, reason, signature
from unmelt.data.image_item import Item, Listing
from unmelt.data.labels_and_captions import LABELS, check_columns, column
from unmelt.errors import UsageError

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype


def numbers(path: Path, label: str, caption: str) -> Listing:
    """List the images of an array file.

    Args:
        path: The .npy or .npz file.
        label: Name of the vector of classes; "auto" for a usual name, "" for none.
        caption: Must be "auto" or "": arrays have no captions.

    Returns:
        The listing, one item for each row of the array of images.

    Raises:
        UsageError: If the file is damaged, does not hold exactly one array of images, or holds one of an unsuitable
            type.
    """
    single = path.suffix.lower() == ".npy"
    try:
        headers = {"": _header_of(path)} if single else _headers(path)
    except Exception as error:  # a damaged file can raise anything at all
        raise _unreadable(path, error) from None
    images = {name: header for name, header in headers.items() if len(header.shape) in (3, 4)}
    if len(images) != 1:
        shapes = ", ".join(f"{name or 'array'} {header.shape}" for name, header in headers.items())
        raise UsageError(
            f"{path} holds {shapes or 'nothing'}",
            "one array of images, of three or four dimensions",
            "numpy.savez(path, images=images, labels=labels)",
        )
    ((name, (shape, dtype)),) = images.items()
    if 0 in shape:
        raise UsageError(f"{path} holds images of shape {shape}", "at least one image and one pixel", "images[:100]")
    if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
        raise UsageError(f"{path} holds {dtype}", "bytes, or floats from 0 to 1", "images.astype(numpy.uint8)")
    first = len(shape) == 4 and shape[3] not in (1, 3, 4) and shape[1] in (1, 3, 4)
    if len(shape) == 4 and not first and shape[3] not in (1, 3, 4):
        raise UsageError(f"{path} holds images of shape {shape[1:]}", "1, 3 or 4 channels", "images[..., :3]")
    vectors = [name for name, header in headers.items() if header.shape in (shape[:1], (shape[0], 1))]
    check_columns("", caption, False, str(path))
    check_columns(label, "", bool(vectors), str(path))
    named = column(label, (*LABELS, "labels", *vectors), vectors, str(path)) if vectors else None
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False) if single else _array(path, name)
        values = [None] * len(pixels) if named is None else _array(path, named).reshape(-1).tolist()
    except MemoryError:
        raise UsageError(
            f"{path} is too large for the memory", "a .npy, which is read where it lies", "numpy.save(path, images)"
        ) from None
    except Exception as error:
        raise _unreadable(path, error) from None
    try:
        classes = [class_name(value) for value in values]
    except ValueError as error:
        raise UsageError(f"{path}, {named}: {error}", "names or whole numbers, or none wanted", "label=''") from None
    pixels = np.moveaxis(pixels, 1, 3) if first else pixels
    items = [Item(f"{path.name}:{n}", partial(_image, pixels, n), each) for n, each in enumerate(classes)]
    return Listing(items, repr(signature(path)))


def _unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{path} cannot be read ({reason(error)})",
        "a whole file of numbers, or of text as labels",
        "numpy.savez(path, images=images, labels=labels.astype(str))",
    )


def _header(file: Any) -> _Header:
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format")
    shape, _, dtype = HEADERS[version](file)
    return _Header(shape, dtype)


def _header_of(path: Path) -> _Header:
    with open(path, "rb") as file:
        found = _header(file)
        _check_size(found, path.stat().st_size - file.tell())
    return found


def _headers(path: Path) -> dict[str, _Header]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            with archive.open(info) as file:
                name = info.filename.removesuffix(".npy")
                found[name] = _header(file)
                if not found[name].dtype.hasobject:
                    _check_size(found[name], info.file_size - file.tell())
            check_expansion(info.file_size, info.compress_size)
    return found


def _check_size(header: _Header, has: int) -> None:
    claimed = math.prod(header.shape) * header.dtype.itemsize
    if header.dtype.hasobject or claimed > has:
        why = "objects, which are not unpickled" if header.dtype.hasobject else f"{claimed:,} bytes claimed of {has:,}"
        raise ValueError(why)


def _array(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _image(pixels: np.ndarray, number: int) -> np.ndarray:
    image = np.ascontiguousarray(pixels[number])
    if image.dtype != np.uint8:
        if not np.isfinite(image).all():
            raise ValueError("NaN or infinity among its numbers")
        if image.min() < 0 or image.max() > 1:
            raise ValueError("floats outside 0 to 1")
        image = (image * 255).round().astype(np.uint8)
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
