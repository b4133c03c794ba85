"""Coordinates in which the probability-flow ODE has a smooth right-hand side.

Coordinates divide x by a unit c and read time on a clock tau, so that with a slope g, a mixture of x and the belief x0,

    d(x / c) = pace(tau) g dtau,      g = p x + q x0

All are the same ODE (or, for `data` with fresh noise, the same SDE less its noise). They differ in which g they
leave under the integral, hence in what a multistep solver extrapolates, and in which variable. With r = sigma / alpha:

    name        unit c             clock tau            pace               slope g
    data        sigma r^(eta^2)    -log r               (1 + eta^2)        x0                    DPM-Solver++, UniPC,
                                                        e^((1+eta^2)tau)                         SA-Solver
    NOISE       alpha              log r                r                  noise                 DEIS
    RATIO       alpha              r                    1                  noise                 LMS of EDM's ODE
    ANGLE       sqrt(alpha^2       atan r               1                  v                     Adams
                + sigma^2)

where noise = (x - alpha x0) / sigma, and v = (alpha noise - sigma x0) / sqrt(alpha^2 + sigma^2).

Only the angle is finite at both ends of time on every schedule. For data of unit covariance v is 0, so that about unit
size it is smoothest; for data that are a single point it is a sine of the angle, so that through slopes go the sine and
the cosine before any power (trigonometric fitting: Gautschi, 1961), and no noise is left of a point.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Slope(NamedTuple):
    """Coefficients of a slope g = p x + q x0.

    Args:
        p: [rows, *axes], that of x.
        q: [rows, *axes], that of x0.
    """

    p: Float[Tensor, "rows *axes"]
    q: Float[Tensor, "rows *axes"]


def _powers(tau: Float[Tensor, "*n"], count: int) -> Float[Tensor, "*n count"]:
    """1, tau, tau^2, ..."""
    return tau[..., None] ** torch.arange(count, dtype=tau.dtype, device=tau.device)


@dataclass(frozen=True)
class Coordinates:
    """One row of the table.

    Args:
        unit: c as a function of alpha and sigma, float64.
        clock: tau as a function of alpha and sigma.
        pace: As a function of tau.
        slope: p and q as functions of alpha and sigma.
        functions: Of tau since the step's begin: what is put through slopes, the j-th of order tau^j near 0.
        eta: Share of fresh noise.
    """

    unit: Callable[[Tensor, Tensor], Tensor]
    clock: Callable[[Tensor, Tensor], Tensor]
    pace: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Slope]
    functions: Callable[[Tensor, int], Tensor] = _powers
    eta: float = 0.0


@cache
def data(eta: float = 0.0) -> Coordinates:
    """Coordinates whose slope is the belief x0.

    Args:
        eta: Share of fresh noise: 0 is the ODE, 1 the reverse SDE that ancestral sampling follows.

    Returns:
        The coordinates, one object for each eta.
    """
    power = 1 + eta**2
    return Coordinates(
        unit=lambda alpha, sigma: sigma * (sigma / alpha) ** eta**2,
        clock=lambda alpha, sigma: torch.log(alpha / sigma),
        pace=lambda tau: power * torch.exp(power * tau),
        slope=lambda alpha, sigma: Slope(torch.zeros_like(alpha), torch.ones_like(alpha)),
        eta=eta,
    )


def _alpha(alpha: Tensor, sigma: Tensor) -> Tensor:
    return alpha


def _noise(alpha: Tensor, sigma: Tensor) -> Slope:
    return Slope(1 / sigma, -alpha / sigma)


NOISE = Coordinates(unit=_alpha, clock=lambda alpha, sigma: torch.log(sigma / alpha), pace=torch.exp, slope=_noise)
RATIO = Coordinates(unit=_alpha, clock=lambda alpha, sigma: sigma / alpha, pace=torch.ones_like, slope=_noise)


def _v(alpha: Tensor, sigma: Tensor) -> Slope:
    size = torch.hypot(alpha, sigma)
    return Slope(alpha / (size * sigma), -size / sigma)


def _sine_and_cosine_first(tau: Float[Tensor, "*n"], count: int) -> Float[Tensor, "*n count"]:
    cos, sin, turned = torch.cos(tau), torch.sin(tau), 2 * torch.sin(tau / 2) ** 2
    each = [cos, sin, turned, tau - sin, tau**2 - 2 * turned, tau**3 - 6 * (tau - sin)]
    return torch.stack(each[:count], -1)


ANGLE = Coordinates(
    unit=torch.hypot,
    clock=lambda alpha, sigma: torch.atan2(sigma, alpha),
    pace=torch.ones_like,
    slope=_v,
    functions=_sine_and_cosine_first,
)
