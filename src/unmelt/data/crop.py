"""An image of any kind as a square of bytes.

It is turned upright (EXIF), cropped to the central square, resized with a Lanczos filter and, where transparent,
composited on white. Of an animation the first frame is used; sixteen bits are scaled to eight; CMYK becomes RGB.
"""

from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps


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
        # A JPEG can be decoded at an eighth of its size or a quarter; twice what is needed keeps the filter's quality.
        image.draft(image.mode, (2 * size, 2 * size))
        return _square(ImageOps.exif_transpose(image), size, channels)


def _square(image: Image.Image, size: int, channels: int) -> np.ndarray:
    upright = _plain(image)
    side = min(upright.size)
    left, top = (upright.width - side) // 2, (upright.height - side) // 2
    middle = upright.crop((left, top, left + side, top + side))
    middle = middle.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if middle.mode == "RGBA":
        middle = Image.alpha_composite(Image.new("RGBA", middle.size, "white"), middle)
    middle = middle.convert("L" if channels == 1 else "RGB")
    return np.array(middle).reshape(size, size, channels).transpose(2, 0, 1)


def _plain(image: Image.Image) -> Image.Image:
    """The same image in one of the modes that resize well: L, RGB, or RGBA where something is transparent."""
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):  # sixteen bits; `convert` would cut, not scale
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels, of which black and white are not known")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


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
    return str(error) or type(error).__name__
