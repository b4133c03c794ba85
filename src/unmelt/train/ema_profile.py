"""Averages of the weights by powers of time, and how any one of them is solved for from a few that were stored.

The average of power p after n steps weighs step k by the integral of the density (p + 1) s^p / n^(p+1) over that step,

    average_n = sum over k <= n of ((k / n)^(p+1) - ((k-1) / n)^(p+1)) weights_k
              = average_(n-1) + (1 - (1 - 1/n)^(p+1)) (weights_n - average_(n-1))

so that it forgets its beginning and stretches with the run, which an average of fixed decay does not. Its EMA std is
the standard deviation of that density relative to the run's length, std^2 = (p + 1) / ((p + 2)^2 (p + 3)).

Which std samples best is only known after training, and differs with the guidance. But densities of two powers, each at
a few numbers of steps, nearly span those of other powers, and averages combine as densities do:

    min over x of  int (target - sum of x_i density_i)^2 ds,     sum of x_i = 1

    int density_a density_b ds = (p_a + 1) (p_b + 1) / (p_a + p_b + 1) (n_a / n_b)^p_b / n_b,     n_a <= n_b

Karras et al., 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models", section 3 and appendix C. The
constraint that the x_i sum to one is ours: constant weights are then reproduced exactly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unmelt.errors import UsageError

LARGEST_STD = 12**-0.5
"""The EMA std of the plain mean of all steps, of power 0."""


class EMAProfile(NamedTuple):
    """The density of one power over the first steps of a run.

    Args:
        power: The power p, at least 0.
        steps: The number of steps n.
    """

    power: float
    steps: int


class EMACoefficients(NamedTuple):
    """How a target profile is combined from stored ones.

    Args:
        coefficients: The coefficient of each stored profile; their sum is 1.
        error: Root mean square error of the combined profile, relative to the root mean square of the target.
    """

    coefficients: list[float]
    error: float


def std_to_power(std: float) -> float:
    """Find the power of an average from its EMA std.

    Args:
        std: Standard deviation of the profile relative to the run's length.

    Returns:
        The power p, the largest root of (p + 1) / std^2 = (p + 2)^2 (p + 3).

    Raises:
        UsageError: If the std is not above 0 and at most `LARGEST_STD`.
    """
    if not 0 < std <= LARGEST_STD:
        raise UsageError(f"an EMA std of {std:g}", f"a share of the run above 0 and up to {LARGEST_STD:.4f}", "0.05")
    per = std**-2
    return max(0.0, float(np.roots([1, 7, 16 - per, 12 - per]).real.max()))


def newest_weight(power: float, steps: int) -> float:
    """Compute the weight of the newest step in the average.

    Args:
        power: The power p.
        steps: The number of steps n, the newest included.

    Returns:
        1 - (1 - 1/n)^(p+1).
    """
    return 1 - (1 - 1 / steps) ** (power + 1)


def inner_product(a: EMAProfile, b: EMAProfile) -> float:
    """Compute the integral of the product of two densities.

    Args:
        a: One profile.
        b: The other.

    Returns:
        The integral, in closed form.
    """
    if a.steps > b.steps:
        a, b = b, a
    return (a.power + 1) * (b.power + 1) / (a.power + b.power + 1) * (a.steps / b.steps) ** b.power / b.steps


def solve_coefficients(stored: Sequence[EMAProfile], target: EMAProfile) -> EMACoefficients:
    """Combine stored profiles to the target, with the least mean square error.

    Args:
        stored: The profiles of the stored averages.
        target: The profile that is wanted.

    Returns:
        Coefficients of the stored averages, and how far the combination is from the target.
    """
    size = np.array([inner_product(one, one) for one in stored]) ** 0.5
    own = inner_product(target, target) ** 0.5
    count = len(stored)
    A, b = np.zeros((count + 1, count + 1)), np.zeros(count + 1)
    A[:count, :count] = [[inner_product(one, other) for other in stored] for one in stored]
    A[:count, :count] /= np.outer(size, size)
    A[count, :count] = A[:count, count] = own / size  # the constraint, and its Lagrange multiplier
    b[:count], b[count] = [inner_product(one, target) for one in stored] / (size * own), 1.0
    x = np.linalg.lstsq(A, b, rcond=1e-13)[0][:count]
    residual = float(1 - 2 * x @ b[:count] + x @ A[:count, :count] @ x)
    return EMACoefficients((x * own / size).tolist(), max(residual, 0.0) ** 0.5)
