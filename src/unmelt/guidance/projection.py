"""The part of one array along another, row by row.

along(a, b) = <a, b> / <b, b>,      so that a - along(a, b) b is orthogonal to b, and as short as it can be
"""

from jaxtyping import Float, Float64
from torch import Tensor


def along(a: Float[Tensor, "rows *shape"], b: Float[Tensor, "rows *shape"]) -> Float64[Tensor, " rows"]:
    """How much of b there is in a, in float64; 0 where b is 0."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return (a * b).sum(1) / (b * b).sum(1).clamp_min(1e-200)
