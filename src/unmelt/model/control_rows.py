"""Control pictures as users give them: one for all rows or one for each, from files, PIL, arrays or tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from unmelt.arguments.values import shown
from unmelt.control import luminance
from unmelt.errors import UsageError
from unmelt.model.pil_image import PILImage

ControlPictures: TypeAlias = str | Path | Tensor | np.ndarray | PILImage | Mapping[str, Any] | Sequence[Any] | None
"""A picture for all rows, or one or None for each; of a model with several controls, these by the control's name."""

ControlScales: TypeAlias = float | Sequence[float] | Tensor | Mapping[str, Any]
"""How much of a control is added, one number or one for each row; or these by the control's name."""

EXAMPLE = 'control=Image.open("edges.png")'

TOLERANCE = 1e-3
"""How far numbers may be outside of [0, 1], by rounding; they are clamped."""


class ControlRows(NamedTuple):
    """The control picture of each row.

    Args:
        pictures: In [0, 1]; 0 in rows that have none.
        given: True where a row has one.
    """

    pictures: Float[Tensor, "rows channels h w"]
    given: Bool[Tensor, " rows"]


def control_rows(control: Any, rows: int, channels: int) -> ControlRows | None:
    """The control picture of each row.

    Args:
        control: A picture for all rows; or a list of a picture or None for each, or a tensor of them.
        rows: How many rows.
        channels: Channels of the pictures that the network reads: 3 for colour, 1 for brightness.

    Returns:
        The pictures, all of the size of the first one; None where no row has one.

    Raises:
        UsageError: If something is no picture, or the number of pictures is not that of rows.
    """
    if control is None:
        return None
    is_list = isinstance(control, list | tuple) and not all(isinstance(one, int | float | list) for one in control)
    is_list = is_list or (isinstance(control, Tensor | np.ndarray) and control.ndim == 4)
    each = list(control) if is_list else [control]
    if len(each) not in (1, rows):
        raise UsageError(
            f"{len(each)} control pictures for {rows} rows", "one for all, or one or None for each", EXAMPLE
        )
    found = [None if one is None else _picture(one, channels) for one in each] * (rows // len(each))
    size = next((one.shape[1:] for one in found if one is not None), None)
    if size is None:
        return None
    blank = torch.zeros(channels, *size)
    pictures = [blank if one is None else resized(one[None], tuple(size))[0] for one in found]
    return ControlRows(torch.stack(pictures), torch.tensor([one is not None for one in found]))


def resized(
    pictures: Float[Tensor, "rows channels h w"], size: Sequence[int]
) -> Float[Tensor, "rows channels high wide"]:
    """Pictures of another size, stretched to it.

    Args:
        pictures: [rows, channels, height, width].
        size: Height and width.

    Returns:
        [rows, channels, *size]; the pictures themselves if they have this size.
    """
    if pictures.shape[2:] == tuple(size):
        return pictures
    return F.interpolate(pictures, tuple(size), mode="bilinear", antialias=True)


def scale_rows(scale: Any, rows: int) -> Float[Tensor, " rows"]:
    """The scale of each row.

    Args:
        scale: A number, or one for each row.
        rows: How many rows.

    Returns:
        [rows].

    Raises:
        UsageError: If it is something else, or not finite.
    """
    try:
        found = torch.as_tensor(scale, dtype=torch.float32).reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        found = torch.zeros(0)
    if isinstance(scale, bool) or len(found) not in (1, rows) or not found.isfinite().all():
        raise UsageError(f"control_scale={shown(scale)}", "a number, or one for each row", "control_scale=0.5")
    return found.expand(rows).clone()


def _picture(one: Any, channels: int) -> Float[Tensor, "channels h w"]:
    """One picture in [0, 1]."""
    if isinstance(one, str | Path):
        one = _opened(Path(one))
    if isinstance(one, PILImage):
        from unmelt.data.crop import pixels

        try:
            one = pixels(one, channels)  # type: ignore[arg-type]
        except ValueError as error:
            raise UsageError(f"an image of {error}", "pixels of 8 or 16 bits", EXAMPLE) from None
    try:
        found = (one if isinstance(one, Tensor) else torch.as_tensor(np.asarray(one))).detach().cpu()
        is_bytes, found = found.dtype == torch.uint8, found.float()
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"control={shown(one)}", "a picture, or one or None for each row", EXAMPLE) from None
    found = found[None] if found.ndim == 2 else found
    if found.ndim == 3 and found.shape[0] not in (1, 3) and found.shape[2] in (1, 3):
        found = found.permute(2, 0, 1)
    if found.ndim != 3 or found.shape[0] not in (1, 3, channels) or 0 in found.shape:
        raise UsageError(
            f"a control picture of shape {tuple(found.shape)}",
            f"[height, width] or [channels, height, width], of {channels} channel{'s' * (channels > 1)}",
            EXAMPLE,
        )
    found = found / 255 if is_bytes else found
    least, most = found.min().item(), found.max().item()
    if not (least >= -TOLERANCE and most <= 1 + TOLERANCE):  # which nan is not
        instead = "control=picture / 255" if most > 2 and least >= 0 else "control=picture.clamp(0, 1)"
        raise UsageError(f"a control picture from {least:.4g} to {most:.4g}", "numbers from 0 to 1", instead)
    if len(found) != channels:
        found = (
            luminance(found[None])[0].expand(channels, -1, -1) if len(found) != 1 else found.expand(channels, -1, -1)
        )
    return found.clamp(0, 1)


def _opened(path: Path) -> Any:
    """The image in a file, upright."""
    from PIL import Image, ImageOps

    from unmelt.data.crop import reason

    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)
    except Exception as error:  # decoders raise anything
        raise UsageError(f"{path}, which cannot be read ({reason(error)})", "an image file", EXAMPLE) from None
