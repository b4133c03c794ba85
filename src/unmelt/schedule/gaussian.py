"""Signal and noise over time: x_t = alpha(t) x0 + sigma(t) noise.

    log_snr(t) = 2 log(alpha / sigma),      t = 0 is data (sigma = 0),      t = 1 is noise

A schedule is four functions of time and the exact inverse of its log signal-to-noise ratio. End points are exact:
sigma(0) is 0, and alpha(1) is 0 where the schedule promises pure noise; nothing is clipped. Two schedules differ
only in how fast they pass through the same noise levels, and in scale (Kingma et al., 2021, section 5.1).

Times are float64 tensors of any shape; results have the same shape.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError


class Schedule(ABC):
    """How much signal and how much noise there is at time t."""

    @abstractmethod
    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The scale of the signal: 1 at t = 0, decreasing.

        Args:
            t: [*n], times in [0, 1].

        Returns:
            [*n], in the precision of t.
        """

    @abstractmethod
    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The standard deviation of the noise: 0 at t = 0, increasing.

        Args:
            t: [*n], times in [0, 1].

        Returns:
            [*n], in the precision of t.
        """

    @abstractmethod
    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The derivative d alpha / dt.

        Args:
            t: [*n], times in [0, 1].

        Returns:
            [*n], in the precision of t.
        """

    @abstractmethod
    def sigma_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The derivative d sigma / dt; infinite at t = 0 if sigma grows like sqrt(t) there.

        Args:
            t: [*n], times in [0, 1].

        Returns:
            [*n], in the precision of t.
        """

    @abstractmethod
    def time(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The time at which a log signal-to-noise ratio is reached: the exact inverse of `log_snr`.

        Args:
            log_snr: [*n], values of 2 log(alpha / sigma); +inf gives time 0.

        Returns:
            [*n], times in [0, 1] for the values between those of t = 1 and t = 0.
        """

    @final
    def log_snr(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """2 log(alpha / sigma): +inf at t = 0, and -inf at t = 1 if no signal is left.

        Args:
            t: [*n], times in [0, 1].

        Returns:
            [*n], in the precision of t.
        """
        return 2 * torch.log(self.alpha(t) / self.sigma(t))

    @final
    def log_snr_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The derivative d log_snr / dt, always negative.

        Args:
            t: [*n], times in [0, 1].

        Returns:
            [*n], in the precision of t.
        """
        return 2 * (self.alpha_rate(t) / self.alpha(t) - self.sigma_rate(t) / self.sigma(t))


def _positive(owner: str, instead: str, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{owner} was given {name}={value}", f"{name} must be a positive number", instead)


@final
@checked_init("um.schedule.Exponential")
@dataclass(frozen=True)
class Exponential(Schedule):
    """alpha^2 = e^(-rate t): the Ornstein-Uhlenbeck process at constant speed (variance preserving).

    Args:
        rate: The speed; log alpha^2 is -rate at t = 1.

    Raises:
        UsageError: If the rate is not a positive number.
    """

    rate: float = 10.0

    def __post_init__(self) -> None:
        _positive("Exponential", "Exponential(rate=6.0)", rate=self.rate)

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.exp(-self.rate / 2 * t)

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sqrt(-torch.expm1(-self.rate * t))

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return -self.rate / 2 * self.alpha(t)

    def sigma_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.rate / 2 * torch.exp(-self.rate * t) / self.sigma(t)

    def time(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return F.softplus(-log_snr, threshold=40) / self.rate


@final
@checked_init("um.schedule.LinearBeta")
@dataclass(frozen=True)
class LinearBeta(Schedule):
    """DDPM's schedule in continuous time: beta rises linearly, alpha^2 = exp(-integral of beta).

    Song et al., 2021 (Score SDE), equation 33; Ho et al., 2020, for the discrete form with 1000 beta_t.

    Args:
        beta_min: beta at t = 0.
        beta_max: beta at t = 1.

    Raises:
        UsageError: If one of them is not a positive number.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _positive("LinearBeta", "LinearBeta(0.1, 20.0)", beta_min=self.beta_min, beta_max=self.beta_max)

    def _integral(self, t: Tensor) -> Tensor:
        return t * (self.beta_min + (self.beta_max - self.beta_min) / 2 * t)

    def _beta(self, t: Tensor) -> Tensor:
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.exp(-self._integral(t) / 2)

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return -self._beta(t) / 2 * self.alpha(t)

    def sigma_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self._beta(t) / 2 * torch.exp(-self._integral(t)) / self.sigma(t)

    def time(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        integral = F.softplus(-log_snr, threshold=40)
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): equal angles in equal times, pure noise at t = 1.

    The schedule of Nichol and Dhariwal, 2021, without the offset and the clipping.
    """

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sin(math.pi / 2 * (1 - t))  # a sine, so that alpha(1) is 0 and not 6e-17

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sin(math.pi / 2 * t)

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return -math.pi / 2 * self.sigma(t)

    def sigma_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return math.pi / 2 * self.alpha(t)

    def time(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return 2 / math.pi * torch.atan(torch.exp(-log_snr / 2))


@final
@checked_init("um.schedule.VarianceExploding")
@dataclass(frozen=True)
class VarianceExploding(Schedule):
    """alpha = 1 and sigma from 0 to sigma_max, geometric above sigma_min and linear below it.

        sigma(t) = sigma_min sinh(c t),    c = asinh(sigma_max / sigma_min)

    The geometric path of Song et al., 2021, stops at sigma_min. The hyperbolic sine follows it down to sigma_min and
    then falls to exactly 0. The defaults are the range of EDM (Karras et al., 2022, table 1).

    Args:
        sigma_min: The noise level around which sigma turns from geometric to linear in t.
        sigma_max: The noise level at t = 1, above sigma_min.

    Raises:
        UsageError: If one of them is not a positive number, or sigma_min is not the smaller.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        instead = "VarianceExploding(0.002, 80.0)"
        _positive("VarianceExploding", instead, sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        if self.sigma_min >= self.sigma_max:
            raise UsageError(
                f"VarianceExploding was given sigma_min={self.sigma_min} and sigma_max={self.sigma_max}",
                "sigma_min must be the smaller",
                instead,
            )

    @property
    def _speed(self) -> float:
        return math.asinh(self.sigma_max / self.sigma_min)

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.ones_like(t)

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.sigma_min * torch.sinh(self._speed * t)

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.zeros_like(t)

    def sigma_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.sigma_min * self._speed * torch.cosh(self._speed * t)

    def time(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.asinh(torch.exp(-log_snr / 2) / self.sigma_min) / self._speed


@final
@checked_init("um.schedule.Straight")
@dataclass(frozen=True)
class Straight(Schedule):
    """Straight lines from data to noise: alpha = 1 - u, sigma = u (flow matching, rectified flow).

        u = shift t / (1 + (shift - 1) t)

    Args:
        shift: The factor by which sigma / alpha is multiplied at every t; 1 changes nothing. Larger images need a shift
            above 1 to be as blurred at the same t (Esser et al., 2024, equation 23).

    Raises:
        UsageError: If the shift is not a positive number.
    """

    shift: float = 1.0

    def __post_init__(self) -> None:
        _positive("Straight", "Straight(shift=3.0)", shift=self.shift)

    def _stretch(self, t: Tensor) -> Tensor:
        return 1 + (self.shift - 1) * t

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return (1 - t) / self._stretch(t)

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.shift * t / self._stretch(t)

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return -self.sigma_rate(t)

    def sigma_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.shift / self._stretch(t) ** 2

    def time(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        u = torch.sigmoid(-log_snr / 2)
        return u / (self.shift - (self.shift - 1) * u)
