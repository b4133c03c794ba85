"""Masks of pictures, as users give them: from 0, where a picture stays, to 1, where it is made anew."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments.values import shown
from unmelt.errors import UsageError
from unmelt.model.pil_image import PILImage


def mask_rows(mask: Any, x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows 1 h w"]:
    """A mask as users give it, for each picture: from 0, where the picture stays, to 1, where it is made anew.

    Args:
        mask: [rows, height, width], [rows, 1, height, width], [1, height, width] or [height, width]: booleans, numbers
            in [0, 1] or bytes, in a tensor, an array, lists or images of PIL.
        x: [rows, channels, height, width], the pictures.

    Returns:
        [rows, 1, height, width].

    Raises:
        UsageError: If it holds no such numbers, or is of another size than the pictures.
    """
    high, wide = x.shape[-2:]
    example = f"torch.ones({high}, {wide}, dtype=torch.bool)"
    try:
        given = np.array(mask.convert("L")) if isinstance(mask, PILImage) else mask
        if isinstance(mask, list | tuple) and any(isinstance(each, PILImage) for each in mask):
            given = np.stack([np.array(each.convert("L")) for each in mask])
        found = (given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(
            f"mask={shown(mask)}", "a mask of the pictures' size, 1 where they are made anew", example
        ) from None
    if found.is_complex():
        raise UsageError(f"mask={shown(mask)}", "real numbers from 0 to 1", example)
    is_bytes = found.dtype == torch.uint8 and found.numel() > 0 and int(found.max()) > 1
    found = found.float() / 255 if is_bytes else found.float()
    shape = tuple(found.shape)
    found = found[None] if found.ndim == 2 else found[:, 0] if found.ndim == 4 and found.shape[1] == 1 else found
    if found.ndim != 3 or tuple(found.shape[1:]) != (high, wide) or len(found) not in (1, len(x)):
        needed = f"one mask of {high} x {wide} pixels, or one for each of {len(x)} pictures"
        raise UsageError(f"a mask of shape {shape} for pictures of shape {tuple(x.shape)}", needed, example)
    if not ((found >= 0) & (found <= 1)).all():  # which nan is not
        least, most = found.min().item(), found.max().item()
        needed = "numbers from 0 (stays) to 1 (is made anew)"
        raise UsageError(f"a mask from {least:.4g} to {most:.4g}", needed, "mask / mask.max()")
    return found.expand(len(x), -1, -1)[:, None]
