"""The times a sampler visits, from t = 1 down to exactly 0.

A grid is a number of steps and a spacing, which says how they are distributed. The spacing chooses t_0 > ... > t_{n-1};
the grid sets t_0 to its start and adds t_n = 0. A spacing that is defined by noise levels (`karras`, `log_snr`,
`balanced`, `shares`) visits the same levels on every schedule.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.schedule import AnySchedule, Schedule, with_levels

MOST_STEPS = 10_000
"""Largest number of steps. Every sampler here has converged long before; more is a typing error."""


class Spacing(ABC):
    """How steps are distributed over time."""

    @abstractmethod
    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        """Choose the times t_0 to t_{n-1}.

        Args:
            steps: Number of steps n.
            schedule: The schedule, for spacings that are defined by noise levels.
            start: The time of the grid's start.

        Returns:
            [steps], times that decrease from about `start` and stay above 0.
        """


@final
@dataclass(frozen=True)
class Uniform(Spacing):
    """Equal steps in t."""

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        return torch.linspace(start, 0, steps + 1, dtype=torch.float64)[:-1]


@final
@dataclass(frozen=True)
class Cosine(Spacing):
    """Equal steps of an angle: t = start sin^2(angle), dense at both ends."""

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        return start * torch.sin(torch.linspace(math.pi / 2, 0, steps + 1, dtype=torch.float64))[:-1] ** 2


def _range(schedule: Schedule, start: float, sigma_min: float, sigma_max: float) -> tuple[float, float]:
    """Smallest and largest noise-to-signal ratio of a grid; the largest is at most that of the start."""
    top = torch.exp(-schedule.log_snr(torch.tensor(start, dtype=torch.float64)) / 2).item()
    return min(sigma_min, top / 2), min(sigma_max, top)


def _check_range(spacing: "Karras | LogSNR") -> None:
    low, high = spacing.sigma_min, spacing.sigma_max
    rho = getattr(spacing, "rho", 1.0)
    if not (0 < low < high < math.inf and 0 < rho < math.inf):
        raise UsageError(
            f"a grid from sigma_max={high} to sigma_min={low} with rho={rho}",
            "0 < sigma_min < sigma_max and a positive rho",
            "grid.karras(20, rho=7.0, sigma_min=0.002, sigma_max=80.0)",
        )


@final
@dataclass(frozen=True)
class Karras(Spacing):
    """Equal steps in (sigma / alpha)^(1 / rho), from sigma_max to sigma_min (Karras et al., 2022, equation 5).

    Args:
        rho: Exponent; larger values are denser at low noise.
        sigma_min: Noise-to-signal ratio of the last time above 0.
        sigma_max: Noise-to-signal ratio of the first time.

    Raises:
        UsageError: If not 0 < sigma_min < sigma_max, or rho is not positive.
    """

    rho: float = 7.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _check_range(self)

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        schedule = with_levels(schedule, "Karras")
        low, high = (sigma ** (1 / self.rho) for sigma in _range(schedule, start, self.sigma_min, self.sigma_max))
        ratio = torch.linspace(high, low, steps, dtype=torch.float64) ** self.rho
        return schedule.time(-2 * torch.log(ratio))


@final
@dataclass(frozen=True)
class LogSNR(Spacing):
    """Equal steps in log SNR: sigma / alpha falls geometrically from sigma_max to sigma_min.

    Args:
        sigma_min: Noise-to-signal ratio of the last time above 0.
        sigma_max: Noise-to-signal ratio of the first time.

    Raises:
        UsageError: If not 0 < sigma_min < sigma_max.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _check_range(self)

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        schedule = with_levels(schedule, "LogSNR")
        low, high = (-2 * math.log(sigma) for sigma in _range(schedule, start, self.sigma_min, self.sigma_max))
        return schedule.time(torch.linspace(high, low, steps, dtype=torch.float64))


@final
@dataclass(frozen=True)
class Balanced(Spacing):
    """Equal steps of sigma / (sigma + pivot alpha): half of them on either side of sigma / alpha = pivot.

    Densest where noise and data are of similar size. Pivot 1 is the uniform grid of flow matching, on every schedule.

    Args:
        pivot: Noise-to-signal ratio of the middle of the grid.

    Raises:
        UsageError: If the pivot is not positive and finite.
    """

    pivot: float = 0.63

    def __post_init__(self) -> None:
        if not 0 < self.pivot < math.inf:
            raise UsageError(f"a balanced grid with pivot={self.pivot}", "a positive number", "grid.balanced(20)")

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        schedule = with_levels(schedule, "Balanced")
        top = self.share(schedule, torch.tensor(start, dtype=torch.float64)).item()
        return self.at(schedule, torch.linspace(top, 0, steps + 1, dtype=torch.float64)[:-1])

    def share(self, schedule: Schedule, t: Float64[Tensor, "*n"]) -> Float64[Tensor, "*n"]:
        """Compute sigma / (sigma + pivot alpha).

        Args:
            schedule: The schedule.
            t: [*n], times.

        Returns:
            [*n], 1 for pure noise and 0 for data.
        """
        sigma = schedule.sigma(t)
        return sigma / (sigma + self.pivot * schedule.alpha(t))

    def at(self, schedule: Schedule, share: Float64[Tensor, "*n"]) -> Float64[Tensor, "*n"]:
        """Find the times at which `share` has given values.

        Args:
            schedule: The schedule.
            share: [*n], values of sigma / (sigma + pivot alpha).

        Returns:
            [*n], times.
        """
        return schedule.time(-2 * torch.log(self.pivot * share / (1 - share)))


@final
@dataclass(frozen=True)
class Shares(Spacing):
    """Given levels on the scale of `Balanced`, as shares of the level that the grid starts at.

    Args:
        of_start: The levels of t_0 to t_{n-1}, decreasing from 1.
    """

    of_start: tuple[float, ...]

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        schedule, scale = with_levels(schedule, "Shares"), Balanced()
        top = scale.share(schedule, torch.tensor(start, dtype=torch.float64))
        return scale.at(schedule, top * torch.tensor(self.of_start, dtype=torch.float64))


@final
@dataclass(frozen=True)
class Fixed(Spacing):
    """Given times.

    Args:
        knots: t_0 to t_{n-1}.
    """

    knots: tuple[float, ...]

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        return torch.tensor(self.knots, dtype=torch.float64)


@final
@dataclass(frozen=True)
class Grid:
    """A number of steps and their spacing; `grid(schedule)` gives the times.

    Args:
        spacing: How the steps are distributed.
        steps: Number of steps, from 1 to 10,000.
        start: The first time, in (0, 1].

    Raises:
        UsageError: If the number of steps or the start is out of range.
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

    def __call__(self, schedule: AnySchedule) -> Float64[Tensor, " knots"]:
        """Compute the times.

        Args:
            schedule: The schedule of the process that is sampled.

        Returns:
            [steps + 1], strictly decreasing from `start` to exactly 0.

        Raises:
            UsageError: If the spacing's times do not decrease.
        """
        inner = self.spacing.times(self.steps, schedule, self.start)[1:]
        times = torch.cat([inner.new_tensor([self.start]), inner, inner.new_zeros(1)])
        if not (times.diff() < 0).all():
            raise UsageError(
                f"a grid that does not fall at every step: {[round(t, 6) for t in times.tolist()]}",
                "times that decrease from the start to 0",
                "grid.uniform(20)",
            )
        return times


def uniform(steps: int) -> Grid:
    """Equal steps in t.

    Args:
        steps: Number of steps.

    Returns:
        The grid.
    """
    return Grid(Uniform(), steps)


def cosine(steps: int) -> Grid:
    """Equal steps of an angle with t = sin^2(angle): dense at both ends.

    Args:
        steps: Number of steps.

    Returns:
        The grid.
    """
    return Grid(Cosine(), steps)


def karras(steps: int, rho: float = 7.0, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Grid:
    """EDM's grid, dense at low noise (Karras et al., 2022, equation 5).

    Args:
        steps: Number of steps.
        rho: Exponent; larger values are denser at low noise.
        sigma_min: Noise-to-signal ratio of the last time above 0.
        sigma_max: Noise-to-signal ratio of the first time.

    Returns:
        The grid.
    """
    return Grid(Karras(rho, sigma_min, sigma_max), steps)


def log_snr(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Grid:
    """Equal steps in log SNR.

    Args:
        steps: Number of steps.
        sigma_min: Noise-to-signal ratio of the last time above 0.
        sigma_max: Noise-to-signal ratio of the first time.

    Returns:
        The grid.
    """
    return Grid(LogSNR(sigma_min, sigma_max), steps)


def balanced(steps: int, pivot: float = 0.63) -> Grid:
    """The grid for `Adams`: dense where noise and data are of similar size.

    Args:
        steps: Number of steps.
        pivot: Noise-to-signal ratio of the middle of the grid.

    Returns:
        The grid.
    """
    return Grid(Balanced(pivot), steps)


def shares(of_start: list[float] | tuple[float, ...]) -> Grid:
    """Given levels, on the scale in which `balanced` takes equal steps.

    Args:
        of_start: The n + 1 levels as shares of the level at the start, from 1 to 0.

    Returns:
        The grid.

    Raises:
        UsageError: If there are fewer than two, or they do not go from 1 to 0.
    """
    if len(of_start) < 2 or of_start[0] != 1 or of_start[-1] != 0:
        raise UsageError(f"shares {tuple(of_start)}", "at least two, from 1 to 0", "grid.shares([1.0, 0.6, 0.3, 0.0])")
    return Grid(Shares(tuple(of_start[:-1])), len(of_start) - 1)


def fixed(times: list[float] | tuple[float, ...]) -> Grid:
    """Given times.

    Args:
        times: The n + 1 times, the last of them 0.

    Returns:
        The grid.

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
