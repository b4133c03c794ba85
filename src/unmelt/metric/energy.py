"""Energy distance: zero only if two densities are the same, in any dimension, with nothing to tune.

    D(p, q) = 2 E|x - y| - E|x - x'| - E|y - y'|,      x, x' ~ p,  y, y' ~ q          Szekely and Rizzo, 2013, eq. 5

This is the squared distance of their paper (and scipy's is the root of it), in units of the data. The estimate
is unbiased, as pairs of a row with itself are left out: between two samples of one density it lies around zero, on
either side of it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.errors import UsageError


def energy_distance(a: Float[Tensor, "n *shape"], b: Float[Tensor, "m *shape"], chunk: int = 1024) -> float:
    """Estimate the energy distance D of two densities from samples of each, without bias.

    Args:
        a: Samples of one density.
        b: Samples of the other.
        chunk: Rows of `a` compared at a time; bounds the memory and changes nothing else.

    Returns:
        The estimate, in units of the data.

    Raises:
        UsageError: If either set has fewer than 2 rows.
    """
    if min(len(a), len(b)) < 2:
        raise UsageError(f"energy was given {len(a)} and {len(b)} rows", "at least 2 of each", "energy(real, samples)")
    a, b = a.flatten(1).double(), b.flatten(1).double()
    across = _total(a, b, chunk) / (len(a) * len(b))
    within_a = _total(a, a, chunk) / (len(a) * (len(a) - 1))
    within_b = _total(b, b, chunk) / (len(b) * (len(b) - 1))
    return 2 * across - within_a - within_b


def _total(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], chunk: int) -> float:
    """The sum of |x - y| over all pairs, from differences: |x|^2 - 2 xy + |y|^2 would lose near pairs to rounding."""
    exact = "donot_use_mm_for_euclid_dist"
    return sum(float(torch.cdist(rows, b, compute_mode=exact).sum()) for rows in a.split(chunk))
