"""Has the model copied? The distance from each sample to the nearest training item, and which item that is.

A model that has learned the density keeps about the distance from the training data that held-out data keep; one that
has memorised them comes closer. Compare `nearest(samples, train)` with `nearest(held_out, train)`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unmelt.errors import UsageError


class Nearest(NamedTuple):
    """For each row of a: how far its nearest row of b is (Euclidean), and which row that is."""

    distance: Float64[Tensor, " n"]
    row: Int64[Tensor, " n"]


def nearest(a: Float[Tensor, "n *shape"], b: Float[Tensor, "m *shape"], chunk: int = 256) -> Nearest:
    """The nearest row of b to each row of a; `chunk` bounds the memory and changes nothing else."""
    if len(b) == 0:
        raise UsageError("nearest was given no rows to look among", "at least 1", "nearest(samples, train)")
    a, b = a.flatten(1).double(), b.flatten(1).double()
    # Distances from differences, so that an exact copy is at exactly 0.
    exact = "donot_use_mm_for_euclid_dist"
    found = [torch.cdist(rows, b, compute_mode=exact).min(1) for rows in a.split(chunk)]
    return Nearest(torch.cat([f.values for f in found]), torch.cat([f.indices for f in found]))
