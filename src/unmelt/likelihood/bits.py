"""Bits per dimension, the unit in which densities of images are compared."""

import math
from typing import TypeVar

from torch import Tensor

from unmelt.errors import UsageError

Nats = TypeVar("Nats", float, Tensor)


def bits_per_dim(nats: Nats, dim: int, scale: float = 1.0) -> Nats:
    """Convert nats in model space to bits per dimension in data space: nats / (dim log 2) + log2(scale).

    Pixels of 256 values that the model sees as z = x / 127.5 - 1 have scale=127.5; the unit is then one bin. A density
    bounds the probability of whole numbers only if they are dequantised first. With x + u in place of x, u uniform
    in [0, 1) and drawn anew for each row, the mean of the result is an upper bound on the bits per dimension of the
    whole numbers (Theis, van den Oord and Bethge, 2016, section 3.1).

    Args:
        nats: -log p(z) of whole rows in model space: `bound(...).value` or `-log_likelihood(...).value`. To convert a
            standard error, divide it by dim log 2 instead.
        dim: Numbers in a row.
        scale: Units of data space in one unit of model space, dz = dx / scale.

    Returns:
        Bits per dimension, of the type and shape of `nats`.

    Raises:
        UsageError: If `dim` is less than 1 or the scale is not a positive number.
    """
    if dim < 1 or not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"dim={dim} and scale={scale}", "at least one dimension, a positive scale", "scale=127.5")
    return nats / (dim * math.log(2)) + math.log2(scale)
