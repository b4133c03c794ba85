"""The size of pictures: the model's own, and others by networks that take any size.

These are `UNet`, `JointDiT` and `DiT(any_size=True)`. The first two see places as they saw them in training, whatever
is beyond. Pictures much larger than those of training are therefore like several of them side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from unmelt.data.images import MOST_SIDE
from unmelt.denoiser import BoundedDenoiser, NetworkDenoiser
from unmelt.errors import UsageError
from unmelt.modality import Images

if TYPE_CHECKING:
    from unmelt.model.base import BaseModel
    from unmelt.model.picture_verbs import PictureVerbs


def picture_shape(model: PictureVerbs) -> tuple[int, ...]:
    """The shape of the pictures that a model makes.

    Args:
        model: A model of images.

    Returns:
        (channels, height, width).
    """
    if (data_shape := getattr(model.codec, "data_shape", None)) is not None:
        return tuple(data_shape(model.denoiser.shape))
    of = torch.int64 if model.of_tokens else torch.float32
    return tuple(model.decode(torch.zeros(1, *model.denoiser.shape, dtype=of, device=model.device)).shape[1:])


def takes_any_size(model: BaseModel) -> bool:
    """Whether a model makes pictures of other sizes than its own.

    Args:
        model: The model.

    Returns:
        True for a model of images whose network takes any size.
    """
    network = getattr(model.denoiser, "backbone", None)
    is_any = isinstance(model.denoiser, NetworkDenoiser | BoundedDenoiser) and bool(
        getattr(network, "takes_any_size", False)
    )
    return is_any and isinstance(model.modality, Images)


def latent_shape(model: PictureVerbs, size: Sequence[int]) -> tuple[int, ...]:
    """The shape in model space of pictures of another size.

    Args:
        model: A model whose network takes any size.
        size: Height and width of the pictures, in pixels.

    Returns:
        The shape of one row.

    Raises:
        UsageError: If a side is longer than that of any picture that can be learned from, or the codec or the patches
            of the network do not divide the sides.
    """
    channels, high, wide = picture_shape(model)
    check_sides(size, f"size={(high, wide)}")
    latent = tuple(model.codec.latent_shape((channels, *size)))  # which refuses sides that the codec does not divide
    patch = getattr(model.denoiser.backbone, "patch", (1, 1))
    if any(side % p for side, p in zip(latent[1:], patch, strict=True)):
        least = [p * own // inner for p, own, inner in zip(patch, (high, wide), model.denoiser.shape[1:], strict=True)]
        needed = f"a height that is a multiple of {least[0]} and a width that is one of {least[1]}"
        near = tuple(max(n, round(side / n) * n) for side, n in zip(size, least, strict=True))
        raise UsageError(f"pictures of {size[0]} x {size[1]} pixels", needed, f"size={near}")
    return latent


def check_sides(size: Sequence[int], instead: str) -> None:
    """Refuse pictures larger than any that can be learned from, before memory is asked for them.

    Args:
        size: Height and width, in pixels.
        instead: A corrected call.

    Raises:
        UsageError: If a side is too long.
    """
    if max(size) > MOST_SIDE:
        given, needed = f"pictures of {size[0]:,} x {size[1]:,} pixels", f"sides of at most {MOST_SIDE:,} pixels"
        raise UsageError(given, needed, instead)


def request_shape(model: PictureVerbs, size: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """The shape of rows that are asked for by their size.

    Args:
        model: The model.
        size: Height and width in pixels, one number for a square; None for the model's own.

    Returns:
        The shape of one row in model space; None for the model's own.

    Raises:
        UsageError: If the model makes no pictures of this size.
    """
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    is_image = isinstance(model.modality, Images)
    if len(sides) != 2 or min(sides) < 1:
        raise UsageError(f"size={size}", "a height and a width, in pixels", "size=(32, 48)")
    if is_image and sides == picture_shape(model)[1:]:
        return None
    if not takes_any_size(model):
        own = f"size={picture_shape(model)[1:]}" if is_image else "no size"
        raise UsageError(
            f"size={sides} for a model of {model.modality.name} that makes one size",
            "its own; or a model of images whose network takes any size (UNet, JointDiT, DiT(any_size=True))",
            own,
        )
    return latent_shape(model, sides)
