"""Images side by side: a grid of tiles, rows of tiles by class, and a strip of the same samples at several times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image, ImageDraw
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.picture.style import INK, PAPER, finish, font, name

_TILE = 48  # pixels; smaller images are enlarged by a whole factor, every pixel staying a sharp square
_GAP = 4
_MARGIN = 12
_FONT = 13

ONE_ROW = 6
"""Up to so many images stand in one row."""

MOST_ACROSS = 12
"""Images of a class in a row."""


def tiles(
    images: Float[Tensor, "n c h w"],
    columns: int | None = None,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    path: str | Path | None = None,
    transparent: bool = False,
) -> Image.Image:
    """Draw images in a grid, from left to right and from top to bottom.

    Args:
        images: Images of 1 or 3 channels in [0, 1]; numbers outside are clipped, and NaN is black.
        columns: Images in a row; None for a grid without much empty room, about as wide as high or wider.
        row_labels: What stands to the left of each row; empty for nothing.
        column_labels: What stands above each column; columns are made as wide as their labels.
        path: Where the picture is written as PNG; None writes nothing.
        transparent: Whether the background is transparent and there is no margin.

    Returns:
        The picture. Small images are enlarged by a whole factor.

    Raises:
        UsageError: If there are no images, channels are not 1 or 3, or labels do not fit the grid.
    """
    count, channels, height, width = images.shape
    if count == 0 or channels not in (1, 3) or (columns is not None and columns < 1):
        raise UsageError(
            f"tiles was given images of shape {list(images.shape)}, columns={columns}",
            "at least one image of 1 or 3 channels, [n, c, h, w], and at least 1 column",
            "tiles(images[:64], columns=8)",
        )
    columns = min(columns or _columns(count), count)
    row_labels, column_labels = ([name(label) for label in labels] for labels in (row_labels, column_labels))
    rows = math.ceil(count / columns)
    _check(rows, row_labels, "row_labels")
    _check(columns, column_labels, "column_labels")
    factor = max(1, math.ceil(_TILE / max(height, width)))
    size = (width * factor, height * factor)

    margin = 0 if transparent else _MARGIN
    left = margin + max((_width(label) + 2 * _GAP for label in row_labels), default=0)
    top = margin + (_FONT + 2 * _GAP if column_labels else 0)
    across = max([size[0], *(_width(label) for label in column_labels)]) + _GAP
    down = size[1] + _GAP
    whole = (left + columns * across - _GAP + margin, top + rows * down - _GAP + margin)
    page = Image.new("RGBA", whole) if transparent else Image.new("RGB", whole, PAPER)
    for item, pixels in enumerate(_bytes(images)):
        row, column = divmod(item, columns)
        tile = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
        page.paste(tile, (left + column * across + (across - _GAP - size[0]) // 2, top + row * down))

    pen = ImageDraw.Draw(page)
    for row, label in enumerate(row_labels):
        middle = top + row * down + size[1] / 2
        pen.text((left - 2 * _GAP, middle), label, fill=INK, font=font(_FONT), anchor="rm")
    for column, label in enumerate(column_labels):
        middle = left + column * across + (across - _GAP) / 2
        pen.text((middle, top - 2 * _GAP), label, fill=INK, font=font(_FONT), anchor="ms")
    return finish(page, path)


def by_class(
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    classes: Sequence[str],
    path: str | Path | None = None,
) -> Image.Image:
    """Draw images by class: the rows of a class one below the other, with its name beside the first of them.

    Args:
        images: Images of 1 or 3 channels in [0, 1].
        labels: The class of each image.
        classes: The names of the classes; long ones are cut off.
        path: Where the picture is written as PNG; None writes nothing.

    Returns:
        The picture. Where there are many classes of few images, they stand in several columns.

    Raises:
        UsageError: If there are no images, or channels are not 1 or 3.
    """
    if len(images) == 0:
        return tiles(images)  # which refuses them
    groups = {int(label): images[labels == label] for label in labels.unique()}
    most = max(map(len, groups.values()))
    across = math.ceil(most / math.ceil(most / MOST_ACROSS))
    rows, names = [], []
    for label, group in groups.items():
        down = math.ceil(len(group) / across)
        empty = torch.ones(down * across - len(group), *images.shape[1:]).to(group)  # white, as the paper
        rows += torch.cat([group, empty]).split(across)
        names += [classes[label], *[""] * (down - 1)]
    panels = max(1, round(math.sqrt(len(rows) / (across + 2))))
    high = math.ceil(len(rows) / panels)
    drawn = [
        tiles(torch.cat(rows[first : first + high]), across, names[first : first + high])
        for first in range(0, len(rows), high)
    ]
    page = Image.new("RGB", (sum(each.width for each in drawn), max(each.height for each in drawn)), PAPER)
    left = 0
    for each in drawn:
        page.paste(each, (left, 0))
        left += each.width
    return finish(page, path)


def strip(
    frames: Sequence[Float[Tensor, "n c h w"]],
    times: Sequence[float],
    columns: int = 12,
    path: str | Path | None = None,
) -> Image.Image:
    """Draw a trajectory of images: one row for each sample, one column for each time.

    Args:
        frames: The same images at each time.
        times: The time of each frame, which stands above its column.
        columns: Frames at most; of more, the first, the last and evenly spaced ones between are drawn.
        path: Where the picture is written as PNG; None writes nothing.

    Returns:
        The picture.

    Raises:
        UsageError: If there are no frames, not one time for each, or fewer than 2 columns.
    """
    if len(frames) != len(times) or len(frames) == 0 or columns < 2:
        raise UsageError(
            f"strip was given {len(frames)} frames, {len(times)} times, columns={columns}",
            "one time for each frame, and at least 2 columns",
            "strip([f.x for f in trajectory], [f.t for f in trajectory])",
        )
    shown = np.unique(np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int))
    films = torch.stack([frames[k] for k in shown], 1)
    labels = [f"{times[k]:.2f}" for k in shown]
    labels[0] = f"t = {labels[0]}"
    return tiles(films.flatten(0, 1), columns=len(shown), column_labels=labels, path=path)


def _bytes(images: Float[Tensor, "n c h w"]) -> np.ndarray:
    """[n, h, w] or [n, h, w, 3] bytes, as Pillow has them."""
    pixels = (images.detach().double().nan_to_num(0.0).clamp(0, 1) * 255).round().byte().cpu().numpy()
    return pixels[:, 0] if images.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)


def _width(label: str) -> int:
    return math.ceil(font(_FONT).getlength(label))


def _columns(count: int) -> int:
    """The columns, from a square grid's to twice as many, that leave the fewest places empty; a row of few images."""
    if count <= ONE_ROW:
        return count
    square = math.ceil(math.sqrt(count))
    return min(range(square, 2 * square + 1), key=lambda columns: (-count % columns, columns))


def _check(count: int, labels: Sequence[str], argument: str) -> None:
    if labels and len(labels) != count:
        raise UsageError(
            f"tiles was given {len(labels)} {argument} for {count}", "one for each, or none", f"{argument}=[...]"
        )
