"""How the steps of a grid are spread over time, t_0 > ... > t_{n-1} > 0.

Since a schedule is only a speed, a spacing stated in noise levels (`Karras`, `LogSNR`) visits the same levels on every
schedule. sigma below is the noise-to-signal ratio.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.schedule import AnySchedule, Schedule, require_gaussian

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
