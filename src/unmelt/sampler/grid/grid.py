"""The times a sampler visits, from t = 1 down to exactly 0.

A grid is a number of steps and a spacing (see `spacing.py`). The spacing chooses t_0 > ... > t_{n-1}; the grid pins t_0
to its start and adds t_n = 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.arguments import checked, checked_init
from unmelt.errors import UsageError
from unmelt.sampler.grid.spacing import (
    MOST_STEPS,
    Balanced,
    Cosine,
    Fixed,
    Karras,
    LogSNR,
    RelativeLevels,
    Spacing,
    Uniform,
)
from unmelt.schedule import AnySchedule


@final
@checked_init("um.grid.Grid")
@dataclass(frozen=True)
class Grid:
    """The times that a sampler visits: `grid(schedule)` gives steps + 1 of them.

    Args:
        spacing: How the steps are spread.
        steps: Number of steps.
        start: Time at which it starts.

    Raises:
        UsageError: If the number of steps is not a whole number from 1 to 10 000, or the start is not in (0, 1].
    """

    spacing: Spacing
    steps: int
    start: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or not 1 <= self.steps <= MOST_STEPS:
            raise UsageError(
                f"a grid of {self.steps!r} steps", f"a whole number of steps from 1 to {MOST_STEPS}", "steps=20"
            )
        if not 0 < self.start <= 1:
            raise UsageError(f"a grid that starts at t = {self.start}", "a start above 0 and at most 1", "start=1.0")

    def for_shape(self, shape: Sequence[int]) -> "Grid":
        """The grid for rows of a shape: another one where the spacing has a method `for_shape`.

        Args:
            shape: Of one row in model space.

        Returns:
            The grid.
        """
        adapt = getattr(self.spacing, "for_shape", None)
        return self if adapt is None else replace(self, spacing=adapt(shape))

    def __call__(self, schedule: AnySchedule) -> Float64[Tensor, " knots"]:
        """The times on a schedule.

        Args:
            schedule: The schedule.

        Returns:
            [steps + 1], strictly decreasing from the start to exactly 0.

        Raises:
            UsageError: If the times do not decrease at every step, or the spacing is of another number of steps.
        """
        inner = self.spacing.times(self.steps, schedule, self.start)[1:]
        if len(inner) + 1 != self.steps:
            kind, fixed = type(self.spacing).__name__, len(inner) + 1
            raise UsageError(
                f"a grid of {self.steps} steps, and a spacing {kind} of {fixed} given times",
                "as many steps as there are times, or a spacing for any number of steps",
                f"steps={fixed}",
            )
        times = torch.cat([inner.new_tensor([self.start]), inner, inner.new_zeros(1)])
        if not (times.diff() < 0).all():
            raise UsageError(
                f"a grid that does not fall at every step: {[round(t, 6) for t in times.tolist()]}",
                "times that decrease from the start to 0",
                "grid.uniform(20)",
            )
        return times


@checked("um.grid.uniform")
def uniform(steps: int) -> Grid:
    """A grid of equal steps in t.

    Args:
        steps: Number of steps.

    Returns:
        The grid.
    """
    return Grid(Uniform(), steps)


@checked("um.grid.cosine")
def cosine(steps: int) -> Grid:
    """A grid that is dense at both ends of time: t = sin^2 of an angle in equal steps.

    Args:
        steps: Number of steps.

    Returns:
        The grid.
    """
    return Grid(Cosine(), steps)


@checked("um.grid.karras")
def karras(steps: int, rho: float = 7.0, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Grid:
    """EDM's grid, dense at low noise (Karras et al., 2022, equation 5).

    Args:
        steps: Number of steps.
        rho: 1 is equal steps in sigma / alpha; the higher, the denser at low noise.
        sigma_min: Lowest noise-to-signal ratio before 0; at most half of that at the start.
        sigma_max: Highest; no higher than that at the start.

    Returns:
        The grid.
    """
    return Grid(Karras(rho, sigma_min, sigma_max), steps)


@checked("um.grid.log_snr")
def log_snr(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Grid:
    """A grid of equal ratios of noise level.

    Args:
        steps: Number of steps.
        sigma_min: Lowest noise-to-signal ratio before 0; at most half of that at the start.
        sigma_max: Highest; no higher than that at the start.

    Returns:
        The grid.
    """
    return Grid(LogSNR(sigma_min, sigma_max), steps)


@checked("um.grid.balanced")
def balanced(steps: int, pivot: float = 0.63) -> Grid:
    """A grid that is dense where noise and data are of one size: the one to use with `Adams`.

    Args:
        steps: Number of steps.
        pivot: Noise-to-signal ratio about which the steps are balanced.

    Returns:
        The grid.
    """
    return Grid(Balanced(pivot), steps)


def relative_levels(fractions: list[float] | tuple[float, ...]) -> Grid:
    """A grid of given noise levels sigma / (sigma + 0.63 alpha), as fractions of the first; `balanced` has equal ones.

    Args:
        fractions: Fractions of the level at the start, decreasing from 1 to 0.

    Returns:
        The grid.

    Raises:
        UsageError: If the fractions do not go from 1 to 0.
    """
    if len(fractions) < 2 or fractions[0] != 1 or fractions[-1] != 0:
        raise UsageError(
            f"fractions {tuple(fractions)}", "at least two, from 1 to 0", "grid.relative_levels([1.0, 0.6, 0.3, 0.0])"
        )
    return Grid(RelativeLevels(tuple(fractions[:-1])), len(fractions) - 1)


@checked("um.grid.fixed")
def fixed(times: list[float] | tuple[float, ...]) -> Grid:
    """A grid of given times.

    Args:
        times: Decreasing times, the last of them 0.

    Returns:
        The grid, which starts at the first of them.

    Raises:
        UsageError: If there are fewer than two, or the last is not 0.
    """
    if len(times) < 2 or times[-1] != 0:
        raise UsageError(
            f"{len(times)} times that end at {times[-1] if times else 'nothing'}",
            "at least two times, the last of them 0",
            "grid.fixed([1.0, 0.5, 0.0])",
        )
    return Grid(Fixed(tuple(times[:-1])), len(times) - 1, start=times[0])
