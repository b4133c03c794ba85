"""Coordinates in which the probability-flow ODE has a smooth right-hand side.

A frame divides x by a unit c and reads time on a clock tau, so that with a slope g, a mixture of x and the belief x0,

    d(x / c) = pace(tau) g dtau,      g = p x + q x0

All frames are the same ODE (or, for `Data` with fresh noise, the same SDE less its noise). They differ in which g they
leave under the integral, hence in what a multistep solver extrapolates, and in which variable. With r = sigma / alpha:

    frame       unit c             clock tau            pace               slope g
    Data        sigma r^(eta^2)    -log r               (1 + eta^2)        x0                    DPM-Solver++, UniPC,
                                                        e^((1+eta^2)tau)                         SA-Solver
    Noise       alpha              log r                r                  noise                 DEIS
    Ratio       alpha              r                    1                  noise                 LMS of EDM's ODE
    Angle       sqrt(alpha^2       atan r               1                  v                     Adams
                + sigma^2)

where noise = (x - alpha x0) / sigma, and v = (alpha noise - sigma x0) / sqrt(alpha^2 + sigma^2).

Only the angle is finite at both ends of time on every schedule. For data of unit covariance v is 0, so that about unit
size it is smoothest; for data that are a single point it is a sine of the angle, so that through slopes go the sine and
the cosine before any power (trigonometric fitting: Gautschi, 1961), and no noise is left of a point.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor


def _powers(tau: Float[Tensor, "*n"], count: int) -> Float[Tensor, "*n count"]:
    """1, tau, tau^2, ..."""
    return tau[..., None] ** torch.arange(count, dtype=tau.dtype, device=tau.device)


class Slope(NamedTuple):
    """g = p x + q x0."""

    p: Float[Tensor, " rows"]
    q: Float[Tensor, " rows"]


class Frame(ABC):
    """A unit, a clock, its pace and a slope, of alpha and sigma in float64; `eta` is the share of fresh noise."""

    eta: float = 0.0

    @abstractmethod
    def unit(self, alpha: Float[Tensor, " rows"], sigma: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]: ...

    @abstractmethod
    def clock(self, alpha: Float[Tensor, " rows"], sigma: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]: ...

    @abstractmethod
    def pace(self, tau: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]: ...

    @abstractmethod
    def functions(self, tau: Float[Tensor, "*n"], count: int) -> Float[Tensor, "*n count"]:
        """What is put through slopes at times tau after the step's begin; the j-th is of order tau^j near 0."""

    @abstractmethod
    def slope(self, alpha: Float[Tensor, " rows"], sigma: Float[Tensor, " rows"]) -> Slope: ...


@final
@dataclass(frozen=True)
class Data(Frame):
    """eta = 0 is the ODE, eta = 1 the reverse SDE that ancestral sampling follows."""

    eta: float = 0.0

    def unit(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return sigma * (sigma / alpha) ** self.eta**2

    def clock(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return torch.log(alpha / sigma)

    def pace(self, tau: Tensor) -> Tensor:
        power = 1 + self.eta**2
        return power * torch.exp(power * tau)

    def functions(self, tau: Tensor, count: int) -> Tensor:
        return _powers(tau, count)

    def slope(self, alpha: Tensor, sigma: Tensor) -> Slope:
        return Slope(torch.zeros_like(alpha), torch.ones_like(alpha))


@final
@dataclass(frozen=True)
class Noise(Frame):
    def unit(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha

    def clock(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return torch.log(sigma / alpha)

    def pace(self, tau: Tensor) -> Tensor:
        return torch.exp(tau)

    def functions(self, tau: Tensor, count: int) -> Tensor:
        return _powers(tau, count)

    def slope(self, alpha: Tensor, sigma: Tensor) -> Slope:
        return Slope(1 / sigma, -alpha / sigma)


@final
@dataclass(frozen=True)
class Ratio(Frame):
    def unit(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha

    def clock(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return sigma / alpha

    def pace(self, tau: Tensor) -> Tensor:
        return torch.ones_like(tau)

    def functions(self, tau: Tensor, count: int) -> Tensor:
        return _powers(tau, count)

    def slope(self, alpha: Tensor, sigma: Tensor) -> Slope:
        return Slope(1 / sigma, -alpha / sigma)


@final
@dataclass(frozen=True)
class Angle(Frame):
    def unit(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return torch.hypot(alpha, sigma)

    def clock(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return torch.atan2(sigma, alpha)

    def pace(self, tau: Tensor) -> Tensor:
        return torch.ones_like(tau)

    def functions(self, tau: Tensor, count: int) -> Tensor:
        cos, sin, turned = torch.cos(tau), torch.sin(tau), 2 * torch.sin(tau / 2) ** 2
        each = [cos, sin, turned, tau - sin, tau**2 - 2 * turned, tau**3 - 6 * (tau - sin)]
        return torch.stack(each[:count], -1)

    def slope(self, alpha: Tensor, sigma: Tensor) -> Slope:
        size = torch.hypot(alpha, sigma)
        return Slope(alpha / (size * sigma), -size / sigma)
