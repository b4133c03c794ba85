"""The nearest training items of samples, by which copies of the training data are found.

Samples of a model that has learned the density are about as far from the training data as held-out data are; those of a
model that has memorised its training data are closer. Compare `nearest_neighbour(samples, train)` with
`nearest_neighbour(held_out, train)`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unmelt.errors import UsageError


class NearestNeighbour(NamedTuple):
    """The nearest row of b to each row of a.

    Args:
        distance: The Euclidean distance to it.
        row: Its number.
    """

    distance: Float64[Tensor, " n"]
    row: Int64[Tensor, " n"]


def nearest_neighbour(a: Float[Tensor, "n *shape"], b: Float[Tensor, "m *shape"], chunk: int = 256) -> NearestNeighbour:
    """Find the nearest row of b to each row of a. An exact copy is at distance exactly 0.

    Args:
        a: The rows to look for, samples for example.
        b: The rows to look among, training data for example.
        chunk: Rows of `a` compared at a time; bounds the memory and changes nothing else.

    Returns:
        Distances and row numbers.

    Raises:
        UsageError: If `b` has no rows.
    """
    if len(b) == 0:
        raise UsageError("nearest was given no rows to look among", "at least 1", "nearest(samples, train)")
    a, b = a.flatten(1).double(), b.flatten(1).double()
    # Distances from differences, so that an exact copy is at exactly 0.
    exact = "donot_use_mm_for_euclid_dist"
    found = [torch.cdist(rows, b, compute_mode=exact).min(1) for rows in a.split(chunk)]
    return NearestNeighbour(torch.cat([f.values for f in found]), torch.cat([f.indices for f in found]))
