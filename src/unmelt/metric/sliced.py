"""Sliced Wasserstein-2: the mean over directions of the squared transport distance along each.

    SW^2(a, b) = E_u W_2^2(u a, u b),      u uniform on the sphere          Bonneel et al., 2015, definition 7

In one dimension transport is sorting: W_2^2 is the integral over q in (0, 1) of the squared gap between the two
quantile functions. Those of finite samples are stairs, with steps at multiples of 1/n and 1/m. The gap is constant
between the merged steps, so that the integral is an exact sum for equal sizes and for unequal ones. If all points are
moved by v, SW^2 is |v|^2 / d.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.rng import Stream


def sliced_wasserstein(
    a: Float[Tensor, "n *shape"], b: Float[Tensor, "m *shape"], rng: Stream, projections: int = 256
) -> float:
    """Estimate the squared sliced Wasserstein distance of two sets of samples.

    Args:
        a: Samples of one density.
        b: Samples of the other.
        rng: Where the random directions come from.
        projections: The number of directions.

    Returns:
        SW^2, in squared units of the data.

    Raises:
        UsageError: If `projections` is below 1.
    """
    if projections < 1:
        raise UsageError(f"sliced was given projections={projections}", "at least 1", "sliced(a, b, Stream(0))")
    a, b = a.flatten(1).double(), b.flatten(1).double()
    directions = rng.normal((a.shape[1], projections), torch.float64)
    directions = directions / directions.norm(dim=0)
    at_a, at_b, width = _stairs(len(a), len(b))
    gap = (a @ directions).sort(0).values[at_a] - (b @ directions).sort(0).values[at_b]
    return float(width @ gap.square().mean(1))


def _stairs(n: int, m: int) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " k"], Float[Tensor, " k"]]:
    """The merged steps of both quantile functions: which value of a, which of b, and the width of the step.

    Counted in whole units of 1 / (n m), so that no step is lost or doubled by rounding.
    """
    edges = torch.cat([m * torch.arange(n + 1), n * torch.arange(m + 1)]).unique()
    left = edges[:-1]
    return left // m, left // n, edges.diff().double() / (n * m)
