"""What a network was trained to output, and the one line of algebra from there to a belief about x0.

With x_t = alpha x0 + sigma noise, each of these fixes all the others:

    noise                                     score     = -noise / sigma
    x0                                        velocity  = alpha' x0 + sigma' noise            (= dx_t / dt on the path)
    v = alpha noise - sigma x0                F of EDM  = (x0 - c_skip x_t) / c_out

(Ho et al., 2020; Salimans and Ho, 2022; Lipman et al., 2023; Karras et al., 2022, equation 7 and table 1, here for any
alpha.) Each class gives the map to x0 (`mean`), the map back (`output`, which is also the training target), and how
strongly its output amplifies an error in x0 (`gain`, whose square turns a loss on x0 into a loss on the output).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.process.gaussian import Gaussian, Level, over
from unmelt.schedule import Schedule


class Prediction(ABC):
    """A network output with a closed form to and from the posterior mean of x0."""

    needs_signal: ClassVar[bool] = False
    """True where x0 cannot be had from the output once alpha is 0."""

    @abstractmethod
    def mean(
        self,
        output: Float[Tensor, "rows *shape"],
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        process: Gaussian,
    ) -> Float[Tensor, "rows *shape"]:
        """x0 from the output."""

    @abstractmethod
    def output(
        self,
        mean: Float[Tensor, "rows *shape"],
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        process: Gaussian,
    ) -> Float[Tensor, "rows *shape"]:
        """The output that stands for this x0."""

    @abstractmethod
    def gain(self, t: Float[Tensor, " rows"], schedule: Schedule) -> Float[Tensor, " rows"]:
        """|d output / d x0| at fixed x_t."""


@final
@dataclass(frozen=True)
class X0(Prediction):
    """The clean data itself."""

    def mean(self, output: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        return output

    def output(self, mean: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        return mean

    def gain(self, t: Tensor, schedule: Schedule) -> Tensor:
        return torch.ones_like(t)


@final
@dataclass(frozen=True)
class Noise(Prediction):
    """The noise that was added (DDPM's epsilon)."""

    needs_signal: ClassVar[bool] = True

    def mean(self, output: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        alpha, sigma = (over(part, x_t) for part in process.level(t))
        return (x_t - sigma * output) / alpha

    def output(self, mean: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        return process.noise(x_t, mean, t)

    def gain(self, t: Tensor, schedule: Schedule) -> Tensor:
        return schedule.alpha(t) / schedule.sigma(t)


@final
@dataclass(frozen=True)
class Score(Prediction):
    """The gradient of log p_t(x_t)."""

    needs_signal: ClassVar[bool] = True

    def mean(self, output: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        alpha, sigma = (over(part, x_t) for part in process.level(t))
        return (x_t + sigma**2 * output) / alpha

    def output(self, mean: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        return -process.noise(x_t, mean, t) / over(process.level(t).sigma, x_t)

    def gain(self, t: Tensor, schedule: Schedule) -> Tensor:
        return schedule.alpha(t) / schedule.sigma(t) ** 2


@final
@dataclass(frozen=True)
class V(Prediction):
    """alpha noise - sigma x0: well scaled at both ends of time."""

    def mean(self, output: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        alpha, sigma = (over(part, x_t) for part in process.level(t))
        return (alpha * x_t - sigma * output) / (alpha**2 + sigma**2)

    def output(self, mean: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        alpha, sigma = (over(part, x_t) for part in process.level(t))
        return alpha * process.noise(x_t, mean, t) - sigma * mean

    def gain(self, t: Tensor, schedule: Schedule) -> Tensor:
        return (schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2) / schedule.sigma(t)


@final
@dataclass(frozen=True)
class Velocity(Prediction):
    """dx_t / dt along the path from x0 to noise: what flow matching regresses on."""

    def mean(self, output: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        schedule = process.schedule
        alpha, sigma = process.level(t)
        turn = alpha * schedule.sigma_rate(t) - schedule.alpha_rate(t) * sigma
        keep = torch.where(sigma > 0, schedule.sigma_rate(t) / turn, 1.0)  # its limit, where the rate is infinite
        return over(keep, x_t) * x_t - over(sigma / turn, x_t) * output

    def output(self, mean: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        schedule = process.schedule
        alpha_rate, sigma_rate = over(schedule.alpha_rate(t), x_t), over(schedule.sigma_rate(t), x_t)
        return alpha_rate * mean + sigma_rate * process.noise(x_t, mean, t)

    def gain(self, t: Tensor, schedule: Schedule) -> Tensor:
        return (schedule.alpha(t) * schedule.sigma_rate(t) / schedule.sigma(t) - schedule.alpha_rate(t)).abs()


@final
@dataclass(frozen=True)
class Preconditioned(Prediction):
    """EDM's F: unit variance in and out at every noise level, for data of standard deviation `data_sd`.

    c_skip = alpha sd^2 / (alpha^2 sd^2 + sigma^2),      c_out = sigma sd / sqrt(alpha^2 sd^2 + sigma^2)
    """

    data_sd: float = 0.5

    def _skip_and_out(self, level: Level) -> tuple[Tensor, Tensor]:
        alpha, sigma = level
        variance = (alpha * self.data_sd) ** 2 + sigma**2
        return alpha * self.data_sd**2 / variance, sigma * self.data_sd * torch.rsqrt(variance)

    def mean(self, output: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        skip, out = self._skip_and_out(process.level(t))
        return torch.addcmul(over(skip, x_t) * x_t, over(out, x_t), output)

    def output(self, mean: Tensor, x_t: Tensor, t: Tensor, process: Gaussian) -> Tensor:
        skip, out = self._skip_and_out(process.level(t))
        return (mean - over(skip, x_t) * x_t) / over(out, x_t)

    def gain(self, t: Tensor, schedule: Schedule) -> Tensor:
        _, out = self._skip_and_out(Level(schedule.alpha(t), schedule.sigma(t)))
        return 1 / out
