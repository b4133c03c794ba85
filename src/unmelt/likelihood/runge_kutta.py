"""The Dormand-Prince method of order 5 with an embedded method of order 4; each row has its own step size.

    k_i = f(t + c_i h, y + h sum_j a_ij k_j),      y' = y + h sum_i b_i k_i,      error = h sum_i e_i k_i

(Dormand and Prince, 1980; Hairer, Norsett and Wanner, 1993, table II.5.2, and section II.4 for step size control.) A
row takes the steps it needs, whatever the other rows need, and one that has arrived is not evaluated any more. The last
slope of a step is the first of the next, so that a step costs 6 evaluations. Autograd differentiates the steps taken.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.errors import UsageError

C = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
A = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
E = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

FIRST = 0.05
"""The first step, as a share of the interval; step size control corrects it."""

SMALLEST = 1e-12
"""The smallest step, as a share of the interval. If it is still too large, the slope is not continuous."""

MOST_STEPS = 10_000
"""If this many steps are not enough, the tolerance is below the precision of the beliefs."""

Slope = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(t, y, indices of the rows) -> dy/dt, for some of the rows."""

Size = Callable[[Tensor, Tensor], Tensor]
"""(error, t) -> the norm of an error in y, for some of the rows."""


def solve(
    slope: Slope, size: Size, y: Float64[Tensor, "rows n"], start: float, end: float, tolerance: float
) -> Float64[Tensor, "rows n"]:
    """Solve dy/dt = slope from `start` to `end`, each row with its own steps.

    Args:
        slope: (t [some], y [some, n], row indices [some]) -> dy/dt [some, n].
        size: (error [some, n], t [some]) -> the norm of an error [some].
        y: [rows, n], the value at `start`.
        start: The time to start from.
        end: The time to arrive at, after `start`.
        tolerance: The largest norm of the error of one step.

    Returns:
        [rows, n], the value at `end`.

    Raises:
        UsageError: If the tolerance cannot be met, or a slope is not finite.
    """
    rows = torch.arange(len(y), device=y.device)
    t = torch.full((len(y),), start, dtype=torch.float64, device=y.device)
    h = torch.full_like(t, FIRST * (end - start))
    first = slope(t, y, rows)
    for _ in range(MOST_STEPS):
        rows = (t < end).nonzero()[:, 0]
        if not len(rows):
            return y
        now, step = t[rows], torch.minimum(h[rows], end - t[rows])
        slopes, proposed = [first[rows]], y[rows]
        for c, row in zip(C[1:], A[1:], strict=True):
            proposed = y[rows] + step[:, None] * _weighted(row, slopes)
            slopes.append(slope((now + c * step).clamp_max(end), proposed, rows))
        with torch.no_grad():
            error = size(step[:, None] * _weighted(E, slopes), now)
            accepted = error <= tolerance
            if (~accepted & (step < SMALLEST * (end - start))).any():
                break
            h[rows] = step * (0.9 * (tolerance / error) ** 0.2).nan_to_num(0.0).clamp(0.2, 5.0)
            arrived = now + step
            t[rows[accepted]] = torch.where(step < end - now, arrived, end)[accepted]
        y = y.index_copy(0, rows[accepted], proposed[accepted])
        first = first.index_copy(0, rows[accepted], slopes[-1][accepted])
    raise UsageError(
        "a denoiser whose belief is not a number, or for which no step is small enough",
        "finite beliefs that change continuously with x_t",
        "a larger tolerance=, or float64 data",
    )


def _weighted(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    return torch.stack([w * k for w, k in zip(weights, slopes, strict=True) if w]).sum(0)
