"""An image of any kind as a square of bytes.

It is turned upright (EXIF), cropped to the central square, resized with a Lanczos filter and, where transparent,
composited on white. Of an animation the first frame is used; sixteen bits are scaled to eight; CMYK becomes RGB.
"""

import threading
from contextlib import nullcontext
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from unmelt.data import files

LARGE = 1 << 24
"""Pixels above which images are decoded one at a time: a small file may unpack to a gigabyte."""

_ONE_AT_A_TIME = threading.Lock()


def square(content: bytes | np.ndarray, size: int, channels: int) -> UInt8[np.ndarray, "channels size size"]:
    """Decode an image and crop it to the central square. Raises whatever the decoder raises.

    Args:
        content: An image file's bytes, or pixels [height, width] or [height, width, channels].
        size: Side of the square, in pixels.
        channels: 3 for colour, 1 for greyscale.

    Returns:
        The pixels as bytes, channels first.
    """
    if isinstance(content, np.ndarray):
        return _square(Image.fromarray(content), size, channels)
    if not content:
        raise ValueError("empty file")
    with Image.open(BytesIO(content)) as image:
        if image.format == "EPS":
            raise ValueError("PostScript, which is a program and not an image")
        # A JPEG can be decoded at an eighth of its size or a quarter; twice what is needed keeps the filter's quality.
        image.draft(image.mode, (2 * size, 2 * size))
        with _ONE_AT_A_TIME if image.width * image.height > LARGE else nullcontext():
            # Bits a channel, which decide what a transparent colour is counted in: a PNG's header states them.
            depth = content[24] if image.format == "PNG" else 8
            ImageOps.exif_transpose(image, in_place=True)
            return _square(image, size, channels, depth)


def _square(image: Image.Image, size: int, channels: int, depth: int = 8) -> np.ndarray:
    side = min(image.size)
    if side == 0:
        raise ValueError("an image without pixels")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image if image.width == image.height else image.crop((left, top, left + side, top + side))
    middle = _plain(middle, depth)
    middle = middle.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _pixels(middle, channels)


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
