"""S u = b from products with S alone: generalised conjugate residuals (Eisenstat, Elman and Schultz, 1983).

    after n steps u is the combination of b, S b, ..., S^(n-1) b with the smallest |b - S u|

The method is exact after as many steps as S has distinct eigenvalues. Stopped earlier, it leaves out the directions in
which S is small. The residual never grows, whatever S is. Conjugate gradients guarantee that for symmetric positive
definite S only, and diverge where a network's derivative is not quite a covariance. Every row is its own system.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def solve(
    product: Callable[[Tensor], Tensor], b: Float[Tensor, "rows *measured"], steps: int
) -> Float[Tensor, "rows *measured"]:
    """Solve S u = b approximately, from u = 0.

    Args:
        product: u -> S u, on all rows.
        b: [rows, *measured], the right-hand sides.
        steps: Steps to take, each with one product; no more are taken than a row has numbers.

    Returns:
        [rows, *measured], u.
    """

    def dot(one: Tensor, other: Tensor) -> Tensor:
        return (one * other).flatten(1).sum(1).view(-1, *(1,) * (b.ndim - 1))

    u, residual = torch.zeros_like(b), b
    directions: list[tuple[Tensor, Tensor]] = []
    for _ in range(min(steps, math.prod(b.shape[1:]))):
        direction, image = residual, product(residual)
        for previous, image_previous in directions:
            overlap = dot(image, image_previous)
            direction, image = direction - overlap * previous, image - overlap * image_previous
        square = dot(image, image)
        found = square > 0  # False where the residual is 0, or S is 0 along it
        inverse = torch.where(found, torch.where(found, square, 1.0).rsqrt(), 0.0)  # its gradient is finite as well
        direction, image = direction * inverse, image * inverse
        step = dot(residual, image)
        u, residual = u + step * direction, residual - step * image
        directions.append((direction, image))
    return u
