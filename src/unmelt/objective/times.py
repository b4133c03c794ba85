"""Which noise levels training visits, and how often.

A distribution over times is its quantile function: a uniform number in, a time out. Spreading the uniform numbers
evenly over the batch (`Stratified`) then works for every distribution alike, and removes most of the variance that
times add to the loss (Kingma et al., 2021, appendix I.1). Frames of a row may have independent times (`PerFrame`:
diffusion forcing, Chen et al., 2024), or a first part of them may be known (`KnownPrefix`).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.rng import Part, Random
from unmelt.schedule import AnySchedule, Schedule, require_gaussian


class Times(ABC):
    """A distribution of times over (0, 1]."""

    @abstractmethod
    def quantile(self, u: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        """The quantile function.

        Args:
            u: Shares in (0, 1].
            schedule: The schedule, for laws stated in noise levels.

        Returns:
            The times below which a share u of the draws lies, of the shape of u.
        """

    @abstractmethod
    def density(self, t: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        """Probability density with respect to t.

        Args:
            t: Times.
            schedule: The schedule.

        Returns:
            The density of each time alone, of the shape of t.
        """

    @abstractmethod
    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, "rows *axes"]:
        """Draw times for a batch.

        Args:
            rows: Number of rows.
            schedule: The schedule.
            rng: Source of randomness; it knows which rows of a divided batch these are.

        Returns:
            [rows], a time for each row, or [rows, *axes]. Frames at 0 are given: they are no draws from the
            distribution, and have no loss.
        """


def _open_uniform(rows: int, rng: Random) -> Float64[Tensor, " rows"]:
    """Numbers in (0, 1]: a time of exactly 0 has nothing to learn from."""
    return 1 - rng.uniform((rows,), torch.float64)


def _normal_density(z: Tensor, sd: float) -> Tensor:
    return torch.exp(-(z**2) / 2) / (sd * math.sqrt(2 * math.pi))


@final
@dataclass(frozen=True)
class Uniform(Times):
    """Times uniform over (0, 1]."""

    def quantile(self, u: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        return u

    def density(self, t: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        return torch.ones_like(t)

    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, " rows"]:
        return _open_uniform(rows, rng)


@final
@checked_init("um.objective.LogitNormal")
@dataclass(frozen=True)
class LogitNormal(Times):
    """Times with log(t / (1 - t)) ~ N(mean, sd^2): the middle of a straight path (Esser et al., 2024, equation 19).

    Args:
        mean: Of the logit; 0 is symmetric.
        sd: Standard deviation of the logit.
    """

    mean: float = 0.0
    sd: float = 1.0

    def quantile(self, u: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        return torch.sigmoid(self.mean + self.sd * torch.special.ndtri(u))

    def density(self, t: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        return _normal_density((torch.logit(t) - self.mean) / self.sd, self.sd) / (t * (1 - t))

    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, " rows"]:
        return self.quantile(_open_uniform(rows, rng), schedule)


@final
@checked_init("um.objective.LogNormalSigma")
@dataclass(frozen=True)
class LogNormalSigma(Times):
    """Times with log(sigma / alpha) ~ N(mean, sd^2), cut where the schedule ends (Karras et al., 2022, table 1).

    Args:
        mean: Of the log noise-to-signal ratio.
        sd: Its standard deviation.
    """

    mean: float = -1.2
    sd: float = 1.2

    def quantile(self, u: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        schedule = require_gaussian(schedule, "log-normal sigma")
        log_ratio = self.mean + self.sd * torch.special.ndtri(u * _reached(schedule, self.mean, self.sd))
        return schedule.time(-2 * log_ratio).clamp_max(1)

    def density(self, t: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        schedule = require_gaussian(schedule, "log-normal sigma")
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
@checked_init("um.objective.Stratified")
@dataclass(frozen=True)
class Stratified(Times):
    """Another distribution, one draw from each of as many equal slices of it as the batch has rows.

    Args:
        of: The distribution of each time.

    Raises:
        UsageError: If `of` draws more than one time a row.
    """

    of: Times

    def __post_init__(self) -> None:
        if isinstance(self.of, PerFrame | KnownPrefix):
            raise UsageError(
                f"Stratified({type(self.of).__name__}(...))",
                "a distribution of one time a row",
                f"{type(self.of).__name__}(Stratified({type(self.of.of).__name__}()), frames={self.of.frames})",
            )

    def quantile(self, u: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        return self.of.quantile(u, schedule)

    def density(self, t: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        return self.of.density(t, schedule)

    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, " rows"]:
        first, count = rng.batch_position(rows)
        u = (torch.arange(first, first + rows, dtype=torch.float64) + _open_uniform(rows, rng)) / count
        return self.of.quantile(u, schedule)


@final
@checked_init("um.objective.PerFrame")
@dataclass(frozen=True)
class PerFrame(Times):
    """Times [rows, frames] for data [rows, frames, *rest]: an independent noise level for each frame.

    Diffusion forcing (Chen et al., 2024). If `of` is stratified, so are the times of each frame over the batch; which
    slice a row draws from is an independent permutation for each frame.

    Args:
        of: The distribution of the time of each frame.
        frames: Number of frames of a row.

    Raises:
        UsageError: If frames < 1, or `of` draws more than one time a row.
    """

    of: Times
    frames: int

    def __post_init__(self) -> None:
        if self.frames < 1 or isinstance(self.of, PerFrame | KnownPrefix):
            raise UsageError(
                f"PerFrame with frames={self.frames} of {type(self.of).__name__}",
                "at least one frame, and a distribution of one time a row",
                "PerFrame(Stratified(Uniform()), frames=16)",
            )

    def quantile(self, u: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        return self.of.quantile(u, schedule)

    def density(self, t: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        return self.of.density(t, schedule)

    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, "rows frames"]:
        first, count = rng.batch_position(rows)
        whole = rng.of if isinstance(rng, Part) else rng  # all parts of a batch draw the times of all of it
        times = torch.stack([self.of.draw(count, schedule, whole) for _ in range(self.frames)], 1)
        order = whole.uniform((count, self.frames), torch.float64).argsort(0)
        return times.gather(0, order)[first : first + rows]


@final
@checked_init("um.objective.KnownPrefix")
@dataclass(frozen=True)
class KnownPrefix(Times):
    """Times [rows, frames]: in some rows a first part is known, at t = 0, and all other frames share one time.

    A network so trained completes what has been begun, such as a plan of which the next actions are already being
    carried out, and still makes whole rows. With `noise` known frames stand at small times of their own: a network so
    trained forgives errors in what it is given, such as those of frames it has made itself.

    Args:
        of: The distribution of the time of a row.
        frames: Number of frames of a row.
        share: Share of rows of which a prefix is known.
        known: Number of known frames; 0 for one that is uniform from 1 to frames - 1.
        noise: Latest time of a known frame; each has its own, uniform from 0.

    Raises:
        UsageError: If frames < 2, the share is not in [0, 1], there are not fewer known frames, the noise is not in
            [0, 1), or `of` draws more than one time a row.
    """

    of: Times
    frames: int
    share: float = 0.5
    known: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        in_range = 0 <= self.share <= 1 and 0 <= self.known < self.frames and 0 <= self.noise < 1
        if self.frames < 2 or not in_range or isinstance(self.of, PerFrame | KnownPrefix):
            raise UsageError(
                f"KnownPrefix with frames={self.frames}, share={self.share}, known={self.known}, noise={self.noise} of "
                f"{type(self.of).__name__}",
                "at least two frames, fewer of them known, a share from 0 to 1, noise from 0 to below 1, and a "
                "distribution of one time a row",
                "KnownPrefix(Stratified(Uniform()), frames=16, share=0.5)",
            )

    def quantile(self, u: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        return self.of.quantile(u, schedule)

    def density(self, t: Float64[Tensor, "*n"], schedule: AnySchedule) -> Float64[Tensor, "*n"]:
        return self.of.density(t, schedule)

    def draw(self, rows: int, schedule: AnySchedule, rng: Random) -> Float64[Tensor, "rows frames"]:
        t = self.of.draw(rows, schedule, rng)
        u = rng.uniform((rows, 2), torch.float64)
        length = 1 + (u[:, 1] * (self.frames - 1)).floor() if self.known == 0 else torch.full_like(t, self.known)
        is_known = torch.arange(self.frames) < torch.where(u[:, 0] < self.share, length, 0.0)[:, None]
        own = self.noise * rng.uniform((rows, self.frames), torch.float64) if self.noise else 0.0 * is_known
        return torch.where(is_known, own, t[:, None])
