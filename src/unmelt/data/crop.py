"""An image of any kind as bytes of a given size.

It is turned upright (EXIF), cropped to the central part of the size's aspect ratio, resized with a Lanczos filter and,
where transparent, composited on white. Of an animation the first frame is used; sixteen bits are scaled to eight; CMYK
becomes RGB. Where several sizes are allowed, an image takes the one whose aspect ratio is nearest to its own.
"""

import math
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from unmelt.data import files

LARGE = 1 << 24
"""Pixels above which images are decoded one at a time: a small file may unpack to a gigabyte."""

_ONE_AT_A_TIME = threading.Lock()


def cropped(content: bytes | np.ndarray, size: tuple[int, int], channels: int) -> UInt8[np.ndarray, "channels h w"]:
    """Decode an image and crop it to a size. Raises whatever the decoder raises.

    Args:
        content: An image file's bytes, or pixels [height, width] or [height, width, channels].
        size: Height and width, in pixels.
        channels: 3 for colour, 1 for greyscale.

    Returns:
        The pixels as bytes, channels first.
    """
    return cropped_to_nearest(content, (size,), channels)[1]


def cropped_to_nearest(
    content: bytes | np.ndarray, sizes: Sequence[tuple[int, int]], channels: int
) -> tuple[int, UInt8[np.ndarray, "channels h w"]]:
    """Decode an image and crop it to the size of the nearest aspect ratio. Raises whatever the decoder raises.

    Args:
        content: An image file's bytes, or pixels [height, width] or [height, width, channels].
        sizes: Heights and widths to choose from, in pixels; the first of those that are equally near is taken.
        channels: 3 for colour, 1 for greyscale.

    Returns:
        (number, pixels): which size it is, and the pixels as bytes, channels first.
    """
    if isinstance(content, np.ndarray):
        return _cropped(Image.fromarray(content), sizes, channels)
    if not content:
        raise ValueError("empty file")
    with Image.open(BytesIO(content)) as image:
        if image.format == "EPS":
            raise ValueError("PostScript, which is a program and not an image")
        # A JPEG can be decoded at an eighth of its size or a quarter; twice what is needed keeps the filter's quality.
        longest = 2 * max(max(size) for size in sizes)
        image.draft(image.mode, (longest, longest))
        with _ONE_AT_A_TIME if image.width * image.height > LARGE else nullcontext():
            # Bits a channel, which decide what a transparent colour is counted in: a PNG's header states them.
            depth = content[24] if image.format == "PNG" else 8
            ImageOps.exif_transpose(image, in_place=True)
            return _cropped(image, sizes, channels, depth)


def nearest_size(width: int, height: int, sizes: Sequence[tuple[int, int]]) -> int:
    """The size of the nearest aspect ratio, by the ratio of the two ratios.

    Args:
        width: Width of an image.
        height: Height of the image.
        sizes: Heights and widths to choose from.

    Returns:
        The number of the size; the first of those that are equally near.
    """
    ratio = math.log(width / height)
    return min(range(len(sizes)), key=lambda k: abs(ratio - math.log(sizes[k][1] / sizes[k][0])))


def _cropped(
    image: Image.Image, sizes: Sequence[tuple[int, int]], channels: int, depth: int = 8
) -> tuple[int, np.ndarray]:
    if min(image.size) == 0:
        raise ValueError("an image without pixels")
    number = nearest_size(image.width, image.height, sizes)
    high, wide = sizes[number]
    if image.width * high > image.height * wide:
        part = max(1, (2 * image.height * wide + high) // (2 * high)), image.height
    else:
        part = image.width, max(1, (2 * image.width * high + wide) // (2 * wide))
    left, top = (image.width - part[0]) // 2, (image.height - part[1]) // 2
    middle = image if part == image.size else image.crop((left, top, left + part[0], top + part[1]))
    middle = _plain(middle, depth)
    middle = middle.resize((wide, high), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return number, _pixels(middle, channels)


def pixels(image: Image.Image, channels: int) -> np.ndarray:
    """The pixels of an image as those of an image file are read: transparent ones on white, sixteen bits as eight.

    Args:
        image: The image, in any mode but that of floating-point pixels.
        channels: 1 for grey, 3 for colour.

    Returns:
        [channels, height, width], uint8.

    Raises:
        ValueError: If the pixels are floating-point numbers.
    """
    return _pixels(_plain(image, 8), channels)


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    if image.mode in ("LA", "RGBA"):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    values = np.array(image.convert("L" if channels == 1 else "RGB"))
    return values.reshape(*values.shape[:2], channels).transpose(2, 0, 1)


def _plain(image: Image.Image, depth: int) -> Image.Image:
    """The same image in one of the modes that resize well: L, RGB, or LA, RGBA where something is transparent."""
    clear = image.info.get("transparency")
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):  # sixteen bits; `convert` would cut, not scale
        return _from_sixteen_bits(np.asarray(image), clear)
    if image.mode == "F":
        raise ValueError("floating-point pixels, of which black and white are not known")
    if clear is not None and image.mode in ("L", "RGB"):
        image.info["transparency"] = _in_eight_bits(clear, depth)
    if image.mode == "RGBA":
        return image
    if clear is not None or image.mode in ("LA", "PA", "La", "RGBa"):
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def _from_sixteen_bits(values: np.ndarray, clear: int | None) -> Image.Image:
    """Grey of eight bits; a few rows at a time, as the wider numbers of a large image would fill the memory."""
    grey, rows = np.empty(values.shape, np.uint8), max(1, LARGE // 16 // values.shape[1])
    for top in range(0, len(values), rows):
        grey[top : top + rows] = (values[top : top + rows].clip(0, 65535).astype(np.uint32) + 128) // 257
    image = Image.fromarray(grey)
    if clear is None:
        return image
    image.putalpha(Image.fromarray((values != clear).view(np.uint8) * np.uint8(255)))
    return image


def _in_eight_bits(colour: int | tuple[int, ...], depth: int) -> int | tuple[int, ...]:
    """The transparent colour in the bits that Pillow decodes to: the upper eight of sixteen, or fewer stretched."""
    if isinstance(colour, tuple):
        return tuple(each >> max(depth - 8, 0) for each in colour)
    return colour >> 8 if depth > 8 else colour * 255 // (2**depth - 1)


def reason(error: Exception) -> str:
    """Why an image could not be read, in a few words.

    Args:
        error: What its decoder raised.

    Returns:
        The reason, for a report.
    """
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow knows"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels, a decompression bomb?"
    return files.reason(error)
