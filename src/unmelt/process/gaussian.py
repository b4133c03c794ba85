"""Melting by Gaussian noise.

    q(x_t | x0)      = N(alpha_t x0, sigma_t^2)                                        any t in one jump
    q(x_s | x_t, x0) = N(alpha_s x0 + sigma_s sqrt(1 - v) noise, sigma_s^2 v)          s < t
                       with noise = (x_t - alpha_t x0) / sigma_t and v = eta^2 (1 - SNR_t / SNR_s)

eta = 1 is the true Markov bridge (Ho et al., 2020, equation 7), eta = 0 the deterministic path, and everything between
has the same marginals (Song, Meng and Ermon, 2021, equation 12). Writing the bridge through the noise keeps every
coefficient finite at t = 1 with alpha = 0 and at s = 0 with sigma = 0.

Times are [rows], or [rows, *axes] for data [rows, *axes, *rest]: each frame then has its own noise level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.memoize import memoized
from unmelt.posterior import Point
from unmelt.process.broadcast import expand as expand
from unmelt.process.broadcast import expand_like as expand_like
from unmelt.rng import Random
from unmelt.schedule import Schedule


class Level(NamedTuple):
    """Signal and noise at a time, in float64.

    Args:
        alpha: [rows, *axes], scale of the signal.
        sigma: [rows, *axes], standard deviation of the noise.
    """

    alpha: Float[Tensor, "rows *axes"]
    sigma: Float[Tensor, "rows *axes"]


@memoized
def _level(schedule: Schedule, t: Tensor) -> Level:
    return Level(schedule.alpha(t), schedule.sigma(t))


@memoized
def _ode_coefficients(schedule: Schedule, t: Tensor, s: Tensor, dtype: torch.dtype, ndim: int) -> tuple[Tensor, Tensor]:
    """(c_x, c_x0): x_s = c_x x_t + c_x0 mean, the noise being kept; (1, 0) where s = t, also where sigma is 0."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = _level(schedule, t), _level(schedule, s)
    c_x = torch.where(s == t, 1.0, sigma_s / sigma_t)
    return expand(c_x, dtype, ndim), expand(alpha_s - alpha_t * c_x, dtype, ndim)


@final
@checked_init("um.process.Gaussian")
@dataclass(frozen=True)
class Gaussian:
    """Gaussian process x_t = alpha(t) x0 + sigma(t) noise, on any schedule.

    Args:
        schedule: alpha and sigma as functions of time.
    """

    schedule: Schedule

    def level(self, t: Float[Tensor, "rows *axes"]) -> Level:
        """Signal and noise at a time.

        Args:
            t: [rows, *axes], times.

        Returns:
            alpha and sigma, each of the shape of t.
        """
        return _level(self.schedule, t)

    def prior(
        self,
        shape: Sequence[int],
        rng: Random,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Float[Tensor, "rows *shape"]:
        """Draw x_1 = sigma(1) noise, the law at t = 1 of data at the origin.

        Args:
            shape: Of the batch, rows first.
            rng: Source of the noise.
            dtype: Precision of x_1.
            device: Device of x_1.

        Returns:
            x_1, of this shape.
        """
        sigma = self.schedule.sigma(torch.ones((), dtype=torch.float64)).item()
        return sigma * rng.normal(shape, dtype, device)

    def mix(
        self,
        x0: Float[Tensor, "rows *shape"],
        noise: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
    ) -> Float[Tensor, "rows *shape"]:
        """Melt data to time t by noise that is given.

        Args:
            x0: [rows, *axes, *rest], clean data.
            noise: Noise of the shape of x0.
            t: [rows, *axes], times.

        Returns:
            x_t = alpha_t x0 + sigma_t noise.
        """
        alpha, sigma = self.level(t)
        return expand_like(alpha, x0) * x0 + expand_like(sigma, x0) * noise

    def corrupt(
        self, x0: Float[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"], rng: Random
    ) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, "rows *shape"]]:
        """Melt data to time t in one jump.

        Args:
            x0: [rows, *axes, *rest], clean data.
            t: [rows, *axes], times.
            rng: Source of the noise.

        Returns:
            (x_t, noise), both of the shape of x0.
        """
        noise = rng.normal(x0.shape, x0.dtype, x0.device)
        return self.mix(x0, noise, t), noise

    def renoise(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        s: Float[Tensor, "rows *axes"],
        rng: Random,
    ) -> Float[Tensor, "rows *shape"]:
        """Draw from q(x_s | x_t) for s >= t: the forward process from where x stands.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times of x_t.
            s: [rows, *axes], times to melt to; where s = t nothing changes.
            rng: Source of the noise.

        Returns:
            x_s, of the shape of x_t.
        """
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.level(t), self.level(s)
        ratio = torch.where(s > t, alpha_s / alpha_t, 1.0)  # where it is 0 / 0, at t = 1, there is nowhere to go
        added = torch.sqrt((sigma_s**2 - (ratio * sigma_t) ** 2).clamp_min(0))
        noise = rng.normal(x_t.shape, x_t.dtype, x_t.device)
        return torch.addcmul(expand_like(ratio, x_t) * x_t, expand_like(added, x_t), noise)

    def ode_step(
        self,
        x_t: Float[Tensor, "rows *shape"],
        mean: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        s: Float[Tensor, "rows *axes"],
    ) -> Float[Tensor, "rows *shape"]:
        """Keep the noise in x_t, as seen from `mean`, and rescale it to time s: the step of every deterministic solver.

        The probability-flow ODE is linear in x_t once the belief is fixed, and this is its exact solution. What a
        better solver adds is a better `mean`.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            mean: Believed x0, of the shape of x_t.
            t: [rows, *axes], times of x_t.
            s: [rows, *axes], times to go to; where s = t nothing changes.

        Returns:
            x_s, of the shape of x_t.
        """
        c_x, c_x0 = _ode_coefficients(self.schedule, t, s, x_t.dtype, x_t.ndim)
        return torch.addcmul(c_x * x_t, c_x0, mean)

    def straight_coordinates(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"]
    ) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, "rows *axes"]]:
        """Straight coordinates (w, u) = (x_t, sigma) / (alpha + sigma), in which the path from x0 to noise is a line.

        In them every schedule is flow matching, dw/du = (w - x0) / u, and nothing is singular at either end.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times.

        Returns:
            (w, u), of the shapes of x_t and t.
        """
        alpha, sigma = self.level(t)
        return x_t / expand_like(alpha + sigma, x_t), sigma / (alpha + sigma)

    def bridge(
        self,
        x_t: Float[Tensor, "rows *shape"],
        posterior: Point,
        t: Float[Tensor, "rows *axes"],
        s: Float[Tensor, "rows *axes"],
        rng: Random,
        eta: float = 1.0,
    ) -> Float[Tensor, "rows *shape"]:
        """Draw x_s given x_t and the believed x0.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            posterior: Belief about x0.
            t: [rows, *axes], times of x_t.
            s: [rows, *axes], times to go to; where s = t nothing changes.
            rng: Source of the fresh noise.
            eta: Share of the noise that is drawn anew: 1 is the Markov bridge, 0 is `ode_step`.

        Returns:
            x_s, of the shape of x_t.
        """
        if eta == 0:
            return self.ode_step(x_t, posterior.mean, t, s)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.level(t), self.level(s)
        moves = s < t
        snr_ratio = ((alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2).clamp_max(1)  # SNR_t / SNR_s, however it rounds
        fresh = torch.where(moves, eta**2 * (1 - snr_ratio), 0.0)
        kept = (1 - eta**2) + eta**2 * snr_ratio  # 1 - fresh, exact where almost all is drawn anew
        c_x = torch.where(moves, sigma_s * torch.sqrt(kept) / sigma_t, 1.0)
        c_x0 = alpha_s - alpha_t * c_x
        mean = torch.addcmul(expand_like(c_x, x_t) * x_t, expand_like(c_x0, x_t), posterior.mean)
        noise = rng.normal(x_t.shape, x_t.dtype, x_t.device)
        return torch.addcmul(mean, expand_like(sigma_s * torch.sqrt(fresh), x_t), noise)

    def noise(
        self,
        x_t: Float[Tensor, "rows *shape"],
        mean: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
    ) -> Float[Tensor, "rows *shape"]:
        """The noise that must have been added if x0 was `mean`; defined where sigma > 0.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            mean: x0, of the shape of x_t.
            t: [rows, *axes], times.

        Returns:
            (x_t - alpha mean) / sigma, of the shape of x_t.
        """
        alpha, sigma = self.level(t)
        return (x_t - expand_like(alpha, x_t) * mean) / expand_like(sigma, x_t)
