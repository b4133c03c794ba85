"""Rows of data as users give them: tensors of any number type, arrays of numpy, lists, images of PIL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments.values import shown
from unmelt.errors import UsageError
from unmelt.model.picture_size import takes_any_size
from unmelt.model.pil_image import PILImage
from unmelt.model.request import check_rows

if TYPE_CHECKING:
    from unmelt.model.base import BaseModel


DataRows: TypeAlias = Tensor | np.ndarray | Sequence[Any] | PILImage
"""Rows of data: [rows, *shape] as a tensor, an array or lists of numbers; or images of PIL."""

OVERSHOOT = 0.5
"""How far data may be beyond the limits of their kind, in units of the range between them."""

REARRANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "x[None]": lambda x: x[None],
    "x.permute(0, 3, 1, 2)": lambda x: x.permute(0, 3, 1, 2),
    "x.permute(2, 0, 1)[None]": lambda x: x.permute(2, 0, 1)[None],
    "x[:, None]": lambda x: x[:, None],
    "x[None, None]": lambda x: x[None, None],
    "x.flatten(1)": lambda x: x.flatten(1),
    "x.expand(-1, 3, -1, -1)": lambda x: x.expand(-1, 3, -1, -1),
    "x.mean(1, keepdim=True)": lambda x: x[:, :, :, :].mean(1, keepdim=True),
}
"""What data of another arrangement need, in the order in which it is tried."""


def data_rows(model: BaseModel, x: Any, any_size: bool = False) -> Float[Tensor, "rows *shape"]:
    """Rows of data as the model's codec takes them: float32, finite, of its shape and its range.

    Bytes are divided by 255, as they are where data are read.

    Args:
        model: The model.
        x: What was given.
        any_size: Whether pictures may have another size than the model's own, if its network takes any.

    Returns:
        [rows, *shape], on the device it was on.

    Raises:
        UsageError: If x holds no numbers, or numbers of another shape, another range, or that are not finite.
    """
    x = _as_tensor(model, x).detach()
    if x.dtype.is_complex:
        raise UsageError(f"x={shown(x)}", "real numbers", "x.real")
    x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
    if not (_fits(model, x) or (any_size and _fits_in_another_size(model, x))):
        fitting = [name for name, change in REARRANGED.items() if _fits(model, x, change)]
        raise UsageError(
            f"data of shape {tuple(x.shape)}{_encoded(model, x)}",
            f"rows that are encoded to shape {model.denoiser.shape}",
            fitting[0] if fitting else f"torch.rand(16, {', '.join(map(str, model.denoiser.shape))})",
        )
    check_rows(len(x))
    if not x.isfinite().all():
        raise UsageError("data with numbers that are not finite", "finite numbers", "x.nan_to_num()")
    limits = getattr(model.codec, "clamp", None)
    if limits is not None:
        _check_range(x, *limits)
    return x


def _as_tensor(model: BaseModel, x: Any) -> Tensor:
    if isinstance(x, PILImage) or (isinstance(x, list | tuple) and x and all(isinstance(one, PILImage) for one in x)):
        return _of_images([x] if isinstance(x, PILImage) else x, 1 if model.denoiser.shape[0] == 1 else 3)
    if isinstance(x, Tensor):
        return x
    if isinstance(x, list | tuple) and x and all(isinstance(one, Tensor) for one in x):
        with contextlib.suppress(RuntimeError):  # of tensors of different shapes
            return torch.stack(list(x))
    if isinstance(x, np.ndarray | list | tuple):
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            return torch.as_tensor(np.asarray(x))
    raise UsageError(f"x={shown(x)}", "rows of numbers in one tensor", "torch.stack(rows)")


def _of_images(images: Sequence[Any], channels: int) -> Tensor:
    from unmelt.data.crop import pixels

    try:
        rows = [pixels(image, channels) for image in images]
    except ValueError as error:
        raise UsageError(f"an image of {error}", "pixels of 8 or 16 bits", "torch.rand(1, 3, 64, 64)") from None
    if len(shapes := {row.shape for row in rows}) > 1:
        raise UsageError(f"images of {len(shapes)} sizes", "one size", "[image.resize((64, 64)) for image in images]")
    return torch.as_tensor(np.stack(rows))


def _latent_shape(
    model: BaseModel, x: Tensor, change: Callable[[Tensor], Tensor] | None = None
) -> tuple[int, ...] | None:
    """The shape of rows that the codec makes of x, rearranged; None if it takes no such data."""
    try:
        shape = (x if change is None else change(x)).shape
        return tuple(model.codec.latent_shape(shape[1:])) if len(shape) > 0 else None
    except (RuntimeError, ValueError, IndexError, TypeError):  # of a codec that was made for other shapes
        return None


def _fits(model: BaseModel, x: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> bool:
    return _latent_shape(model, x, change) == tuple(model.denoiser.shape)


def _fits_in_another_size(model: BaseModel, x: Tensor) -> bool:
    """Whether x are pictures of another size, of a model that makes any."""
    shape, own = _latent_shape(model, x), model.denoiser.shape
    if shape is None or len(shape) != 3 or len(shape) != len(own) or shape[0] != own[0] or min(shape) < 1:
        return False
    patch = getattr(getattr(model.denoiser, "backbone", None), "patch", (1, 1))
    return takes_any_size(model) and not any(side % p for side, p in zip(shape[1:], patch, strict=True))


def _encoded(model: BaseModel, x: Tensor) -> str:
    """What the data would be encoded to, where that is not their own shape."""
    shape = _latent_shape(model, x)
    return "" if shape in (None, tuple(x.shape[1:])) else f", which are encoded to rows of {shape}"


def _check_range(x: Tensor, low: float, high: float) -> None:
    """Refuse numbers far beyond their limits: bytes as floats, or images of [-1, 1] where [0, 1] is meant."""
    span = (high - low) * OVERSHOOT
    least, most = x.min().item(), x.max().item()
    if low - span <= least and most <= high + span:
        return
    instead = "x / 255" if most > high + span and least >= low else "(x + 1) / 2" if most <= 1 else "x.clamp(0, 1)"
    raise UsageError(f"data from {least:.4g} to {most:.4g}", f"numbers from {low:g} to {high:g}", instead)
