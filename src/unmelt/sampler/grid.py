"""The times a sampler visits, from t = 1 down to exactly 0.

A grid is a number of steps and a spacing: the law by which the steps are spread. The spacing chooses t_0 > ... >
t_{n-1}; the grid pins t_0 to its start and adds t_n = 0. Since a schedule is only a speed, a spacing stated in noise
levels (`karras`, `log_snr`) visits the same levels on every schedule.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.arguments import checked, checked_init
from unmelt.errors import UsageError
from unmelt.public_names import publish
from unmelt.schedule import AnySchedule, Schedule, require_gaussian

__all__ = [
    "MOST_STEPS",
    "Balanced",
    "Cosine",
    "Fixed",
    "Grid",
    "Karras",
    "LogSNR",
    "RelativeLevels",
    "Spacing",
    "Uniform",
    "balanced",
    "cosine",
    "fixed",
    "karras",
    "log_snr",
    "relative_levels",
    "uniform",
]


MOST_STEPS = 10_000
"""Largest number of steps of a grid: every sampler has converged long before."""


class Spacing(ABC):
    """How steps are spread over time. One that depends on the shape of rows has a method `for_shape(shape)`."""

    @abstractmethod
    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        """Times t_0 to t_{n-1}.

        Args:
            steps: Number n of steps.
            schedule: The schedule, for spacings stated in noise levels.
            start: Time at which the grid starts.

        Returns:
            [steps], decreasing from about the start, above 0.
        """


@final
@dataclass(frozen=True)
class Uniform(Spacing):
    """Spacing by equal steps in t."""

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        return torch.linspace(start, 0, steps + 1, dtype=torch.float64)[:-1]


@final
@dataclass(frozen=True)
class Cosine(Spacing):
    """Spacing by equal steps of an angle, t = sin^2(angle): dense at both ends."""

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        return start * torch.sin(torch.linspace(math.pi / 2, 0, steps + 1, dtype=torch.float64))[:-1] ** 2


def _range(schedule: Schedule, start: float, sigma_min: float, sigma_max: float) -> tuple[float, float]:
    """The noise-to-signal ratios to spread steps over: no higher than that of the start, whatever sigma_max."""
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
    """Spacing by equal steps in (sigma / alpha)^(1 / rho) (Karras et al., 2022, equation 5).

    Args:
        rho: 1 is equal steps in sigma / alpha; the higher, the denser at low noise.
        sigma_min: Lowest noise-to-signal ratio before 0; at most half of that at the start.
        sigma_max: Highest; no higher than that at the start.

    Raises:
        UsageError: If not 0 < sigma_min < sigma_max, or rho is not positive.
    """

    rho: float = 7.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _check_range(self)

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        schedule = require_gaussian(schedule, "Karras")
        low, high = (sigma ** (1 / self.rho) for sigma in _range(schedule, start, self.sigma_min, self.sigma_max))
        ratio = torch.linspace(high, low, steps, dtype=torch.float64) ** self.rho
        return schedule.time(-2 * torch.log(ratio))


@final
@dataclass(frozen=True)
class LogSNR(Spacing):
    """Spacing by equal steps in log SNR: sigma / alpha falls geometrically.

    Args:
        sigma_min: Lowest noise-to-signal ratio before 0; at most half of that at the start.
        sigma_max: Highest; no higher than that at the start.

    Raises:
        UsageError: If not 0 < sigma_min < sigma_max.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _check_range(self)

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        schedule = require_gaussian(schedule, "LogSNR")
        low, high = (-2 * math.log(sigma) for sigma in _range(schedule, start, self.sigma_min, self.sigma_max))
        return schedule.time(torch.linspace(high, low, steps, dtype=torch.float64))


@final
@dataclass(frozen=True)
class Balanced(Spacing):
    """Spacing by equal steps of sigma / (sigma + pivot alpha): half of them on either side of sigma / alpha = pivot.

    It is densest where noise and data are of one size, where beliefs change most. At pivot 1 it is flow matching's own
    grid, on every schedule.

    Args:
        pivot: Noise-to-signal ratio about which the steps are balanced.

    Raises:
        UsageError: If the pivot is not positive.
    """

    pivot: float = 0.63

    def __post_init__(self) -> None:
        if not 0 < self.pivot < math.inf:
            raise UsageError(f"a balanced grid with pivot={self.pivot}", "a positive number", "grid.balanced(20)")

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        schedule = require_gaussian(schedule, "Balanced")
        top = self.share(schedule, torch.tensor(start, dtype=torch.float64)).item()
        return self.at(schedule, torch.linspace(top, 0, steps + 1, dtype=torch.float64)[:-1])

    def share(self, schedule: Schedule, t: Float64[Tensor, "*n"]) -> Float64[Tensor, "*n"]:
        """sigma / (sigma + pivot alpha): 1 for pure noise, 0 for data.

        Args:
            schedule: The schedule.
            t: Times.

        Returns:
            The shares, of the shape of t.
        """
        sigma = schedule.sigma(t)
        return sigma / (sigma + self.pivot * schedule.alpha(t))

    def at(self, schedule: Schedule, share: Float64[Tensor, "*n"]) -> Float64[Tensor, "*n"]:
        """The times at which shares are reached.

        Args:
            schedule: The schedule.
            share: Values of sigma / (sigma + pivot alpha).

        Returns:
            The times, of the shape of the shares.
        """
        return schedule.time(-2 * torch.log(self.pivot * share / (1 - share)))


@final
@dataclass(frozen=True)
class RelativeLevels(Spacing):
    """Given noise levels sigma / (sigma + 0.63 alpha), as fractions of the level at which the grid starts.

    This is the scale of `Balanced`, so that the levels of noise are the same on every schedule.

    Args:
        fractions: Decreasing from 1, without the last, 0.
    """

    fractions: tuple[float, ...]

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        schedule, scale = require_gaussian(schedule, "RelativeLevels"), Balanced()
        top = scale.share(schedule, torch.tensor(start, dtype=torch.float64))
        return scale.at(schedule, top * torch.tensor(self.fractions, dtype=torch.float64))


@final
@dataclass(frozen=True)
class Fixed(Spacing):
    """Spacing by given times.

    Args:
        knots: The times, without the last, 0.
    """

    knots: tuple[float, ...]

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        return torch.tensor(self.knots, dtype=torch.float64)


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


publish(__name__)
