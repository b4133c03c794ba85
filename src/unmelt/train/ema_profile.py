"""Averages of the weights by powers of time, and how any one of them comes out of a few that were kept.

The average of power p after n steps weighs step k by the area that the density (p + 1) s^p / n^(p+1) has over it,

    average_n = sum over k <= n of ((k / n)^(p+1) - ((k-1) / n)^(p+1)) weights_k
              = average_(n-1) + (1 - (1 - 1/n)^(p+1)) (weights_n - average_(n-1))

so that it forgets its beginning and stretches with the run, which an average of fixed decay does not. Its length is the
standard deviation of that density as a share of the run, length^2 = (p + 1) / ((p + 2)^2 (p + 3)).

Which length samples best is only known afterwards, and differs by guidance and by what is asked for. But densities of
two powers, each at a few numbers of steps, nearly span those of other powers, and averages combine as densities do:

    min over x of  int (wanted - sum of x_i density_i)^2 ds,     sum of x_i = 1

    int density_a density_b ds = (p_a + 1) (p_b + 1) / (p_a + p_b + 1) (n_a / n_b)^p_b / n_b,     n_a <= n_b

Karras et al., 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models", section 3 and appendix C; that
the x_i sum to one is ours, and makes weights that stand still come out as they are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unmelt.errors import UsageError

LARGEST_STD = 12**-0.5
"""The length of the plain mean of all steps, of power 0."""


class EMAProfile(NamedTuple):
    """The density of power `power` over the first `steps` steps."""

    power: float
    steps: int


class EMACoefficients(NamedTuple):
    """
    shares   of each profile that was kept
    off      how far their sum is from the one that was wanted: root mean square, as a share of its own
    """

    coefficients: list[float]
    error: float


def power_of(std: float) -> float:
    """The power of an average of this length; a `UsageError` if there is none."""
    if not 0 < std <= LARGEST_STD:
        raise UsageError(
            f"an average of length {std:g}", f"a share of the run above 0 and up to {LARGEST_STD:.4f}", "length=0.05"
        )
    per = std**-2  # (p + 1) per = (p + 2)^2 (p + 3), a cubic whose largest root is the power
    return max(0.0, float(np.roots([1, 7, 16 - per, 12 - per]).real.max()))


def share(power: float, steps: int) -> float:
    """Of the newest weights in the average after so many steps."""
    return 1 - (1 - 1 / steps) ** (power + 1)


def overlap(a: EMAProfile, b: EMAProfile) -> float:
    """The integral of the product of two densities."""
    if a.steps > b.steps:
        a, b = b, a
    return (a.power + 1) * (b.power + 1) / (a.power + b.power + 1) * (a.steps / b.steps) ** b.power / b.steps


def solve_coefficients(stored: Sequence[EMAProfile], target: EMAProfile) -> EMACoefficients:
    """The wanted profile, as nearly as those that were kept can be mixed to."""
    size = np.array([overlap(one, one) for one in stored]) ** 0.5
    own = overlap(target, target) ** 0.5
    count = len(stored)
    A, b = np.zeros((count + 1, count + 1)), np.zeros(count + 1)
    A[:count, :count] = [[overlap(one, other) for other in stored] for one in stored]
    A[:count, :count] /= np.outer(size, size)
    A[count, :count] = A[:count, count] = own / size  # the sum of shares, and what it costs (Lagrange)
    b[:count], b[count] = [overlap(one, target) for one in stored] / (size * own), 1.0
    x = np.linalg.lstsq(A, b, rcond=1e-13)[0][:count]
    rest = float(1 - 2 * x @ b[:count] + x @ A[:count, :count] @ x)
    return EMACoefficients((x * own / size).tolist(), max(rest, 0.0) ** 0.5)
