"""Melting by Gaussian noise.

    q(x_t | x0)      = N(alpha_t x0, sigma_t^2)                                        any t in one jump
    q(x_s | x_t, x0) = N(alpha_s x0 + sigma_s sqrt(1 - v) noise, sigma_s^2 v)          s < t
                       with noise = (x_t - alpha_t x0) / sigma_t and v = eta^2 (1 - SNR_t / SNR_s)

eta = 1 is the true Markov bridge (Ho et al., 2020, equation 7), eta = 0 the deterministic path, and everything between
has the same marginals (Song, Meng and Ermon, 2021, equation 12). Writing the bridge through the noise keeps every
coefficient finite at t = 1 with alpha = 0 and at s = 0 with sigma = 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.memoize import memoized
from unmelt.posterior import Point
from unmelt.rng import Random
from unmelt.schedule import Schedule


class Level(NamedTuple):
    """How much signal and noise each row has, in float64."""

    alpha: Float[Tensor, " rows"]
    sigma: Float[Tensor, " rows"]


@memoized
def _level(schedule: Schedule, t: Tensor) -> Level:
    return Level(schedule.alpha(t), schedule.sigma(t))


@memoized
def _ratio_and_pull(schedule: Schedule, t: Tensor, s: Tensor, dtype: torch.dtype, ndim: int) -> tuple[Tensor, Tensor]:
    """x_s = ratio x_t + pull mean, the noise being kept."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = _level(schedule, t), _level(schedule, s)
    ratio = sigma_s / sigma_t
    return expand(ratio, dtype, ndim), expand(alpha_s - alpha_t * ratio, dtype, ndim)


def expand(values: Float[Tensor, " rows"], dtype: torch.dtype, ndim: int) -> Tensor:
    """One number a row, shaped to multiply rows of `ndim` dimensions in all."""
    return values.to(dtype).view(-1, *(1,) * (ndim - 1))


def expand_like(values: Float[Tensor, " rows"], x: Shaped[Tensor, "rows *shape"]) -> Tensor:
    """One number a row, in x's precision, if x has one, and shaped to multiply x."""
    return expand(values, x.dtype if x.is_floating_point() else values.dtype, x.ndim)


@final
@dataclass(frozen=True)
class Gaussian:
    """x_t = alpha(t) x0 + sigma(t) noise, on any schedule."""

    schedule: Schedule

    def level(self, t: Float[Tensor, " rows"]) -> Level:
        """alpha and sigma at t."""
        return _level(self.schedule, t)

    def prior(
        self,
        shape: Sequence[int],
        rng: Random,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Float[Tensor, "rows *shape"]:
        """x_1 = sigma(1) noise: the law at t = 1 of data at the origin."""
        sigma = self.schedule.sigma(torch.ones((), dtype=torch.float64)).item()
        return sigma * rng.normal(shape, dtype, device)

    def mix(
        self,
        x0: Float[Tensor, "rows *shape"],
        noise: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
    ) -> Float[Tensor, "rows *shape"]:
        """alpha_t x0 + sigma_t noise, the noise being given."""
        alpha, sigma = self.level(t)
        return expand_like(alpha, x0) * x0 + expand_like(sigma, x0) * noise

    def corrupt(
        self, x0: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], rng: Random
    ) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, "rows *shape"]]:
        """(x_t, noise)."""
        noise = rng.normal(x0.shape, x0.dtype, x0.device)
        return self.mix(x0, noise, t), noise

    def melt(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], s: Float[Tensor, " rows"], rng: Random
    ) -> Float[Tensor, "rows *shape"]:
        """A sample of q(x_s | x_t) for s >= t: the forward process from where it stands."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.level(t), self.level(s)
        ratio = torch.where(s > t, alpha_s / alpha_t, 1.0)  # where it is 0 / 0, at t = 1, there is nowhere to go
        added = torch.sqrt((sigma_s**2 - (ratio * sigma_t) ** 2).clamp_min(0))
        noise = rng.normal(x_t.shape, x_t.dtype, x_t.device)
        return torch.addcmul(expand_like(ratio, x_t) * x_t, expand_like(added, x_t), noise)

    def ode_step(
        self,
        x_t: Float[Tensor, "rows *shape"],
        mean: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        s: Float[Tensor, " rows"],
    ) -> Float[Tensor, "rows *shape"]:
        """The noise in x_t, seen from `mean`, kept and rescaled to time s: the step every deterministic solver takes.

        The probability-flow ODE is linear in x_t once the belief is fixed, and this is its exact solution. What
        a better solver adds is a better `mean` to carry along.
        """
        ratio, pull = _ratio_and_pull(self.schedule, t, s, x_t.dtype, x_t.ndim)
        return torch.addcmul(ratio * x_t, pull, mean)

    def straighten(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, " rows"]]:
        """Straight coordinates (w, u) = (x_t, sigma) / (alpha + sigma): the path from x0 to noise becomes a line.

        In them every schedule is flow matching, dw/du = (w - x0) / u, and nothing is singular at either end.
        """
        alpha, sigma = self.level(t)
        return x_t / expand_like(alpha + sigma, x_t), sigma / (alpha + sigma)

    def bridge(
        self,
        x_t: Float[Tensor, "rows *shape"],
        posterior: Point,
        t: Float[Tensor, " rows"],
        s: Float[Tensor, " rows"],
        rng: Random,
        eta: float = 1.0,
    ) -> Float[Tensor, "rows *shape"]:
        """A sample of x_s given x_t and the believed x0; `eta` is how much of the noise is drawn anew."""
        if eta == 0:
            return self.ode_step(x_t, posterior.mean, t, s)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.level(t), self.level(s)
        moves = s < t
        gone = ((alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2).clamp_max(1)  # SNR_t / SNR_s, however it rounds
        fresh = torch.where(moves, eta**2 * (1 - gone), 0.0)
        kept = (1 - eta**2) + eta**2 * gone  # 1 - fresh, exact where almost all is drawn anew
        ratio = torch.where(moves, sigma_s * torch.sqrt(kept) / sigma_t, 1.0)
        pull = alpha_s - alpha_t * ratio
        carried = torch.addcmul(expand_like(ratio, x_t) * x_t, expand_like(pull, x_t), posterior.mean)
        noise = rng.normal(x_t.shape, x_t.dtype, x_t.device)
        return torch.addcmul(carried, expand_like(sigma_s * torch.sqrt(fresh), x_t), noise)

    def noise(
        self,
        x_t: Float[Tensor, "rows *shape"],
        mean: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
    ) -> Float[Tensor, "rows *shape"]:
        """The noise that must have been added if x0 was `mean`; defined where sigma > 0."""
        alpha, sigma = self.level(t)
        return (x_t - expand_like(alpha, x_t) * mean) / expand_like(sigma, x_t)
