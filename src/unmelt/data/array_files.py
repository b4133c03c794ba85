"""Arrays of images in .npy and .npz files.

An array is [n, height, width], [n, height, width, channels] or [n, channels, height, width], bytes or floats in
[0, 1]. In an .npz, the array of images is the one with three or four dimensions. A vector of the same length holds the
classes: the one that is named, or `label`, `class`, `labels`, or else any. Pickled objects are refused.
"""

import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from unmelt.data.image_item import Item, Listing
from unmelt.data.labels_and_captions import LABELS, check_columns, column
from unmelt.errors import UsageError


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
    try:
        loaded = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} cannot be read ({str(error).splitlines()[0] if str(error) else 'damaged'})",
            "a whole file of numbers",
            "numpy.savez(path, images=images, labels=labels)",
        ) from None
    images = {name: array for name, array in arrays.items() if array.ndim in (3, 4)}
    if len(images) != 1:
        shapes = ", ".join(f"{name or 'array'} {array.shape}" for name, array in arrays.items())
        raise UsageError(
            f"{path} holds {shapes}",
            "one array of images, of three or four dimensions",
            "numpy.savez(path, images=images, labels=labels)",
        )
    (pixels,) = images.values()
    vectors = {name: array for name, array in arrays.items() if array.shape == (len(pixels),)}
    check_columns("", caption, False, str(path))
    check_columns(label, "", bool(vectors), str(path))
    named = column(label, (*LABELS, "labels", *vectors), list(vectors), str(path)) if vectors else None
    labels = None if named is None else vectors[named]
    if pixels.dtype != np.uint8 and not np.issubdtype(pixels.dtype, np.floating):
        raise UsageError(f"{path} holds {pixels.dtype}", "bytes, or floats from 0 to 1", "images.astype(numpy.uint8)")
    if pixels.ndim == 4 and pixels.shape[3] not in (1, 3, 4) and pixels.shape[1] in (1, 3, 4):
        pixels = np.moveaxis(pixels, 1, 3)
    if pixels.ndim == 4 and pixels.shape[3] not in (1, 3, 4):
        raise UsageError(f"{path} holds images of shape {pixels.shape[1:]}", "1, 3 or 4 channels", "images[..., :3]")
    names = [None] * len(pixels) if labels is None else [str(label) for label in labels.tolist()]
    items = [Item(f"{path.name}:{n}", partial(_image, pixels, n), name) for n, name in enumerate(names)]
    return Listing(items, repr((str(path), path.stat().st_size, path.stat().st_mtime_ns)))


def _image(pixels: np.ndarray, number: int) -> np.ndarray:
    image = np.ascontiguousarray(pixels[number])
    if image.dtype != np.uint8:
        if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
            raise ValueError("floats outside 0 to 1")
        image = (image * 255).round().astype(np.uint8)
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
