"""What a network was trained to output, and the one line of algebra from there to a belief about x0.

With x_t = alpha x0 + sigma noise, each of these fixes all the others:

    noise                                     score     = -noise / sigma
    x0                                        velocity  = alpha' x0 + sigma' noise            (= dx_t / dt on the path)
    v = alpha noise - sigma x0                F of EDM  = (x0 - c_skip x_t) / c_out

(Ho et al., 2020; Salimans and Ho, 2022; Lipman et al., 2023; Karras et al., 2022, equation 7 and table 1, here for any
alpha.) All are the same sentence with other coefficients,

    x0 = c_skip(t) x_t + c_out(t) output

which read backwards gives the output that stands for an x0, hence the training target; and 1 / |c_out| is how strongly
the output amplifies an error in x0, whose square turns a loss on x0 into a loss on the output.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.memoize import memoized
from unmelt.process.broadcast import expand, expand_like
from unmelt.process.gaussian import Gaussian
from unmelt.public_names import publish
from unmelt.schedule import Schedule

__all__ = ["X0", "Coefficients", "FlowVelocity", "Noise", "Preconditioned", "Prediction", "Score", "V"]


class Coefficients(NamedTuple):
    """Coefficients of x0 = c_skip x_t + c_out output.

    Args:
        c_skip: [rows, *axes], that of x_t.
        c_out: [rows, *axes], that of the output.
    """

    c_skip: Float[Tensor, "rows *axes"]
    c_out: Float[Tensor, "rows *axes"]


class Prediction(ABC):
    """A network output with a closed form to and from the posterior mean of x0."""

    needs_signal: ClassVar[bool] = False
    """True where x0 cannot be had from the output once alpha is 0."""

    @abstractmethod
    def coefficients(self, t: Float[Tensor, "rows *axes"], schedule: Schedule) -> Coefficients:
        """c_skip and c_out.

        Args:
            t: [rows, *axes], times.
            schedule: The schedule.

        Returns:
            The coefficients, each of the shape of t.
        """

    @final
    def mean(
        self,
        output: Float[Tensor, "rows *shape"],
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        process: Gaussian,
    ) -> Float[Tensor, "rows *shape"]:
        """x0 from the output.

        Args:
            output: Output of the network, of the shape of x_t.
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times.
            process: The process.

        Returns:
            x0, of the shape of x_t.
        """
        c_skip, c_out = _expanded_coefficients(self, process.schedule, t, x_t.dtype, x_t.ndim)
        return torch.addcmul(c_skip * x_t, c_out, output)

    @final
    def output(
        self,
        mean: Float[Tensor, "rows *shape"],
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        process: Gaussian,
    ) -> Float[Tensor, "rows *shape"]:
        """The output that stands for an x0: the training target.

        Args:
            mean: x0, of the shape of x_t.
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times.
            process: The process.

        Returns:
            The output, of the shape of x_t.
        """
        c_skip, c_out = self.coefficients(t, process.schedule)
        return (mean - expand_like(c_skip, x_t) * x_t) / expand_like(c_out, x_t)

    @final
    def gain(self, t: Float[Tensor, "rows *axes"], schedule: Schedule) -> Float[Tensor, "rows *axes"]:
        """|d output / d x0| at fixed x_t.

        Args:
            t: [rows, *axes], times.
            schedule: The schedule.

        Returns:
            1 / |c_out|, of the shape of t.
        """
        return 1 / self.coefficients(t, schedule).c_out.abs()


@memoized
def _expanded_coefficients(
    prediction: Prediction, schedule: Schedule, t: Tensor, dtype: torch.dtype, ndim: int
) -> tuple[Tensor, Tensor]:
    c_skip, c_out = prediction.coefficients(t, schedule)
    return expand(c_skip, dtype, ndim), expand(c_out, dtype, ndim)


@final
@dataclass(frozen=True)
class X0(Prediction):
    """Prediction of the clean data x0."""

    def coefficients(self, t: Tensor, schedule: Schedule) -> Coefficients:
        return Coefficients(torch.zeros_like(t), torch.ones_like(t))


@final
@dataclass(frozen=True)
class Noise(Prediction):
    """Prediction of the noise that was added (epsilon of Ho et al., 2020)."""

    needs_signal: ClassVar[bool] = True

    def coefficients(self, t: Tensor, schedule: Schedule) -> Coefficients:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        return Coefficients(1 / alpha, -sigma / alpha)


@final
@dataclass(frozen=True)
class Score(Prediction):
    """Prediction of the score, the gradient of log p_t(x_t)."""

    needs_signal: ClassVar[bool] = True

    def coefficients(self, t: Tensor, schedule: Schedule) -> Coefficients:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        return Coefficients(1 / alpha, sigma**2 / alpha)


@final
@dataclass(frozen=True)
class V(Prediction):
    """Prediction of v = alpha noise - sigma x0, well scaled at both ends of time (Salimans and Ho, 2022)."""

    def coefficients(self, t: Tensor, schedule: Schedule) -> Coefficients:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        size = alpha**2 + sigma**2
        return Coefficients(alpha / size, -sigma / size)


@final
@dataclass(frozen=True)
class FlowVelocity(Prediction):
    """Prediction of dx_t / dt along the path from x0 to noise: the target of flow matching (Lipman et al., 2023)."""

    def coefficients(self, t: Tensor, schedule: Schedule) -> Coefficients:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        wronskian = alpha * schedule.sigma_rate(t) - schedule.alpha_rate(t) * sigma
        c_skip = torch.where(
            sigma > 0, schedule.sigma_rate(t) / wronskian, 1.0
        )  # its limit, where the rate is infinite
        return Coefficients(c_skip, -sigma / wronskian)


@final
@checked_init("um.prediction.Preconditioned")
@dataclass(frozen=True)
class Preconditioned(Prediction):
    """Prediction of EDM's F, of unit variance at every noise level (Karras et al., 2022, table 1).

    c_skip = alpha sd^2 / (alpha^2 sd^2 + sigma^2),      c_out = sigma sd / sqrt(alpha^2 sd^2 + sigma^2)

    Args:
        data_sd: Standard deviation sd of the data.
    """

    data_sd: float = 0.5

    def coefficients(self, t: Tensor, schedule: Schedule) -> Coefficients:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        variance = (alpha * self.data_sd) ** 2 + sigma**2
        return Coefficients(alpha * self.data_sd**2 / variance, sigma * self.data_sd * torch.rsqrt(variance))


publish(__name__)
