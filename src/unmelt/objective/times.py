"""Which noise levels training visits, and how often.

A distribution over times is its quantile function: a uniform number in, a time out. Spreading the uniform numbers
evenly over the batch (`Stratified`) then works for every distribution alike, and takes most of the variance that times
add to the loss away (Kingma et al., 2021, appendix I.1).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.rng import Random
from unmelt.schedule import AnySchedule, Schedule, with_levels


class Times(ABC):
    """A distribution over (0, 1]."""

    @abstractmethod
    def quantile(self, u: Float64[Tensor, " rows"], schedule: AnySchedule) -> Float64[Tensor, " rows"]:
        """The time below which a share u of the draws lies."""

    @abstractmethod
    def density(self, t: Float64[Tensor, " rows"], schedule: AnySchedule) -> Float64[Tensor, " rows"]:
        """Probability density at t, with respect to t."""

    @abstractmethod
    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, " rows"]:
        """A time for each row."""


def _open_uniform(rows: int, rng: Random) -> Float64[Tensor, " rows"]:
    """Numbers in (0, 1]: a time of exactly 0 has nothing to learn from."""
    return 1 - rng.uniform((rows,), torch.float64)


def _normal_density(z: Tensor, sd: float) -> Tensor:
    return torch.exp(-(z**2) / 2) / (sd * math.sqrt(2 * math.pi))


@final
@dataclass(frozen=True)
class Uniform(Times):
    """Every time alike."""

    def quantile(self, u: Float64[Tensor, " rows"], schedule: AnySchedule) -> Float64[Tensor, " rows"]:
        return u

    def density(self, t: Float64[Tensor, " rows"], schedule: AnySchedule) -> Float64[Tensor, " rows"]:
        return torch.ones_like(t)

    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, " rows"]:
        return _open_uniform(rows, rng)


@final
@dataclass(frozen=True)
class LogitNormal(Times):
    """log(t / (1 - t)) ~ N(mean, sd^2): the middle of a straight path (Esser et al., 2024, equation 19)."""

    mean: float = 0.0
    sd: float = 1.0

    def quantile(self, u: Float64[Tensor, " rows"], schedule: AnySchedule) -> Float64[Tensor, " rows"]:
        return torch.sigmoid(self.mean + self.sd * torch.special.ndtri(u))

    def density(self, t: Float64[Tensor, " rows"], schedule: AnySchedule) -> Float64[Tensor, " rows"]:
        return _normal_density((torch.logit(t) - self.mean) / self.sd, self.sd) / (t * (1 - t))

    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, " rows"]:
        return self.quantile(_open_uniform(rows, rng), schedule)


@final
@dataclass(frozen=True)
class LogNormalSigma(Times):
    """log(sigma / alpha) ~ N(mean, sd^2), cut off where the schedule ends (Karras et al., 2022, table 1)."""

    mean: float = -1.2
    sd: float = 1.2

    def quantile(self, u: Float64[Tensor, " rows"], schedule: AnySchedule) -> Float64[Tensor, " rows"]:
        schedule = with_levels(schedule, "log-normal sigma")
        log_ratio = self.mean + self.sd * torch.special.ndtri(u * _reached(schedule, self.mean, self.sd))
        return schedule.time(-2 * log_ratio).clamp_max(1)

    def density(self, t: Float64[Tensor, " rows"], schedule: AnySchedule) -> Float64[Tensor, " rows"]:
        schedule = with_levels(schedule, "log-normal sigma")
        z = (-schedule.log_snr(t) / 2 - self.mean) / self.sd
        return _normal_density(z, self.sd) * -schedule.log_snr_rate(t) / 2 / _reached(schedule, self.mean, self.sd)

    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, " rows"]:
        return self.quantile(_open_uniform(rows, rng), schedule)


@lru_cache
def _reached(schedule: Schedule, mean: float, sd: float) -> float:
    """The share of the normal law of log(sigma / alpha) that lies below the schedule's end."""
    highest = -schedule.log_snr(torch.ones((), dtype=torch.float64)) / 2
    return torch.special.ndtr((highest - mean) / sd).item()


@final
@dataclass(frozen=True)
class Stratified(Times):
    """Another distribution, one draw from each of as many equal slices of it as the batch has rows."""

    of: Times

    def quantile(self, u: Float64[Tensor, " rows"], schedule: AnySchedule) -> Float64[Tensor, " rows"]:
        return self.of.quantile(u, schedule)

    def density(self, t: Float64[Tensor, " rows"], schedule: AnySchedule) -> Float64[Tensor, " rows"]:
        return self.of.density(t, schedule)

    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, " rows"]:
        first, count = rng.place(rows)
        u = (torch.arange(first, first + rows, dtype=torch.float64) + _open_uniform(rows, rng)) / count
        return self.of.quantile(u, schedule)
