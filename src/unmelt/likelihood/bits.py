"""From nats to bits per dimension, the unit in which densities of images are compared."""

import math
from typing import TypeVar

from torch import Tensor

from unmelt.errors import UsageError

Nats = TypeVar("Nats", float, Tensor)


def bits_per_dim(nats: Nats, dim: int, scale: float = 1.0) -> Nats:
    """-log2 p of one dimension, on average, in the units of the data.

        nats / (dim log 2) + log2(scale)

    nats     -log p(z) of a whole row in model space: `bound(...).value` or `-log_likelihood(...).value`; for a standard
             error, divide by dim log 2 instead
    dim      numbers in a row
    scale    units of the data in a unit of model space, dz = dx / scale

    Pixels of 256 values shown to the model as z = x / 127.5 - 1 have scale=127.5; then the unit is one bin. A density
    says something about whole numbers only if they were spread over their bins first: with x + u in place of x, u
    uniform in [0, 1) and drawn anew for each row, the mean of this is an upper bound on the bits per dimension of
    the whole numbers (Theis, van den Oord and Bethge, 2016, section 3.1).
    """
    if dim < 1 or not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"dim={dim} and scale={scale}", "at least one dimension, a positive scale", "scale=127.5")
    return nats / (dim * math.log(2)) + math.log2(scale)
