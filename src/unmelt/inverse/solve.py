"""S u = b, of S only products being known: generalised conjugate residuals (Eisenstat, Elman and Schultz, 1983).

    u is the combination of b, S b, ..., S^(n-1) b that leaves the smallest |b - S u|

It is exact after as many steps as S has different eigenvalues. Stopped earlier it leaves out the directions in which S
is small. The residual never grows, whatever S is: conjugate gradients, which promise that for symmetric positive S
alone, run away where a network's derivative is not quite a covariance. Every row is a system of its own.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def solve(
    product: Callable[[Tensor], Tensor], b: Float[Tensor, "rows *measured"], steps: int
) -> Float[Tensor, "rows *measured"]:
    """u after this many steps from 0, each of one product with S."""

    def dot(one: Tensor, other: Tensor) -> Tensor:
        return (one * other).flatten(1).sum(1).view(-1, *(1,) * (b.ndim - 1))

    u, left = torch.zeros_like(b), b
    taken: list[tuple[Tensor, Tensor]] = []
    for _ in range(min(steps, b[0].numel())):
        along, image = left, product(left)
        for before, image_before in taken:
            share = dot(image, image_before)
            along, image = along - share * before, image - share * image_before
        scale = dot(image, image).sqrt()
        inverse = torch.where(scale > 0, 1 / scale, 0.0)  # nothing is left to explain, or S is 0 there
        along, image = along * inverse, image * inverse
        share = dot(left, image)
        u, left = u + share * along, left - share * image
        taken.append((along, image))
    return u
