"""Dormand and Prince's method of order 5 with one of order 4 inside it, each row at its own pace.

    k_i = f(t + c_i h, y + h sum_j a_ij k_j),      y' = y + h sum_i b_i k_i,      error = h sum_i e_i k_i

(Dormand and Prince, 1980; Hairer, Norsett and Wanner, 1993, table II.5.2 and section II.4 for the size of steps.) A row
takes the steps it needs, whatever its neighbours need, and one that has arrived costs nothing more. The last slope
of a step is the first of the next, so that a step costs 6 evaluations. Autograd goes through the steps that were taken.
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
"""Of the whole way, the first step; it is soon corrected."""

SMALLEST = 1e-12
"""Of the whole way: a step that must be smaller has met something that no step gets over."""

MOST_STEPS = 10_000
"""More than this and the tolerance is below what the precision of the beliefs allows."""

Slope = Callable[[Tensor, Tensor, Tensor], Tensor]
Size = Callable[[Tensor, Tensor], Tensor]


def solve(
    slope: Slope, size: Size, y: Float64[Tensor, "rows n"], start: float, end: float, tolerance: float
) -> Float64[Tensor, "rows n"]:
    """y at `end` of dy/dt = slope(t[some], y[some, n], which[some]), from y at `start` before it.

    size(error[some, n], t[some]) is how large an error is, and `tolerance` how large it may be in one step.
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
        slopes, there = [first[rows]], y[rows]
        for c, row in zip(C[1:], A[1:], strict=True):
            there = y[rows] + step[:, None] * _weighted(row, slopes)
            slopes.append(slope((now + c * step).clamp_max(end), there, rows))
        with torch.no_grad():
            error = size(step[:, None] * _weighted(E, slopes), now)
            good = error <= tolerance
            if (~good & (step < SMALLEST * (end - start))).any():
                break
            h[rows] = step * (0.9 * (tolerance / error) ** 0.2).nan_to_num(0.0).clamp(0.2, 5.0)
            arrived = now + step
            t[rows[good]] = torch.where(step < end - now, arrived, end)[good]
        y = y.index_copy(0, rows[good], there[good])
        first = first.index_copy(0, rows[good], slopes[-1][good])
    raise UsageError(
        "a denoiser that no step is small enough for, or whose belief is not a number",
        "finite beliefs that change continuously with x_t",
        "a larger tolerance=, or float64 data",
    )


def _weighted(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    return torch.stack([w * k for w, k in zip(weights, slopes, strict=True) if w]).sum(0)
