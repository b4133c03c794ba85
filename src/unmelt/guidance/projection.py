"""The projection of one array on another, for each row.

along(a, b) = <a, b> / <b, b>,      so that a - along(a, b) b is orthogonal to b, and the shortest such difference
"""

from jaxtyping import Float, Float64
from torch import Tensor


def along(a: Float[Tensor, "rows *shape"], b: Float[Tensor, "rows *shape"]) -> Float64[Tensor, " rows"]:
    """The coefficient of b in the projection of a on b.

    Args:
        a: [rows, *shape], the arrays to project.
        b: [rows, *shape], the arrays to project on.

    Returns:
        [rows], in float64; 0 where b is 0.
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return (a * b).sum(1) / (b * b).sum(1).clamp_min(1e-200)
