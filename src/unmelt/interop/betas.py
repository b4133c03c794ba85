"""DDPM's discrete chain of betas as a schedule in continuous time.

    alpha^2(i / T) = prod_{j <= i} (1 - beta_j),      -log alpha^2 linear in t between

(Ho et al., 2020, section 2.) The schedule is exact at the T times of the chain, so a network trained on them sees what
it was trained on. Between them beta is constant, so log signal-to-noise ratio can be inverted exactly. diffusers counts
from 0: its timestep i is t = (i + 1) / T.

A chain may be rescaled so that it ends without any signal (Lin et al., 2024, algorithm 1):

    alpha(i / T) <- (alpha(i / T) - alpha(1)) alpha(1 / T) / (alpha(1 / T) - alpha(1))

Its last beta is 1. Within the last step, where no constant beta leads to alpha = 0, alpha is linear in t.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unmelt.denoiser.precondition import EDGE
from unmelt.errors import UsageError, nearest
from unmelt.schedule import Schedule

MOST_STEPS = 100_000


def _cosine(start: float, end: float, steps: int) -> Tensor:
    """The cosine schedule (Nichol and Dhariwal, 2021, equation 17), with its cap at 0.999."""
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    signal = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - signal[1:] / signal[:-1]).clamp_max(0.999)


def _sigmoid(start: float, end: float, steps: int) -> Tensor:
    """Betas on a sigmoid curve (GeoDiff: Xu et al., 2022)."""
    return torch.sigmoid(torch.linspace(-6, 6, steps, dtype=torch.float64)) * (end - start) + start


def _laplace(start: float, end: float, steps: int) -> Tensor:
    """Betas of a signal-to-noise ratio that is Laplace distributed, as diffusers has them, capped at 0.999."""
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    log_snr = -0.5 * torch.sign(0.5 - t) * torch.log(1 - 2 * (0.5 - t).abs() + 1e-6)
    signal = torch.sigmoid(log_snr).sqrt()
    return (1 - signal[1:] / signal[:-1]).clamp_max(0.999)


SPACINGS: dict[str, Callable[[float, float, int], Tensor]] = {
    "linear": lambda start, end, steps: torch.linspace(start, end, steps, dtype=torch.float64),
    "scaled_linear": lambda start, end, steps: torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2,
    "squaredcos_cap_v2": _cosine,
    "sigmoid": _sigmoid,
    "laplace": _laplace,
}
"""Beta schedules by the names that diffusers gives them."""


@final
@dataclass(frozen=True)
class Betas(Schedule):
    """A schedule made of a chain of betas.

    Args:
        spacing: Shape of the chain, by diffusers' name: "linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid" or
            "laplace".
        start: First beta.
        end: Last beta.
        steps: Number of betas, T.
        given: The betas themselves, one by one, instead of spacing, start and end; empty for none.
        zero_terminal_snr: Whether they are rescaled so that no signal is left at t = 1.

    Raises:
        UsageError: If the spacing is unknown, a beta is not between 0 and 1, or the number of betas is wrong.
    """

    spacing: str = "linear"
    start: float = 1e-4
    end: float = 0.02
    steps: int = 1000
    given: tuple[float, ...] = ()
    zero_terminal_snr: bool = False

    def __post_init__(self) -> None:
        if self.spacing not in SPACINGS:
            raise UsageError(
                f"betas spaced {self.spacing!r}",
                f"one of {', '.join(SPACINGS)}",
                f"Betas({nearest(self.spacing, SPACINGS)!r})",
            )
        if not 1 <= self.steps <= MOST_STEPS or (self.given and len(self.given) != self.steps):
            raise UsageError(
                f"{len(self.given)} betas for {self.steps} steps", f"one each, for 1 to {MOST_STEPS:,}", "Betas()"
            )
        if not all(0 < beta < 1 for beta in self.given or (self.start, self.end)):
            raise UsageError(
                f"betas from {self.start} to {self.end}" if not self.given else "a given beta that is 0 or 1",
                "numbers above 0 and below 1",
                "Betas(start=1e-4, end=0.02)",
            )

    def timestep(self, level: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The fractional timestep of a noise level, rounded to 1e-3, which is what float32 can resolve.

        Args:
            level: [*n], noise levels log(sigma / alpha) / 4, as networks are given them.

        Returns:
            [*n], timesteps within [0, T - 1].
        """
        step = self.steps * self.time(-8 * level.double()) - 1
        step = torch.where(level >= EDGE / 4, self.steps - 1, step)  # the level of pure noise is given as a finite one
        return step.clamp(0, self.steps - 1).round(decimals=3)

    def _piece(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """-log alpha^2 at t, and its derivative there."""
        knots = _knots(self).to(t.device)
        step = (t * self.steps).floor().long().clamp(0, self.steps - 1)
        rise = knots[step + 1] - knots[step]
        past = t * self.steps - step
        integral, rate = knots[step] + past * rise, self.steps * rise
        if self.zero_terminal_snr:
            is_last = step == self.steps - 1
            integral = torch.where(is_last, knots[step] - 2 * torch.log1p(-past), integral)
            rate = torch.where(is_last, 2 * self.steps / (1 - past), rate)
        return integral, rate

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.exp(-self._piece(t)[0] / 2)

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sqrt(-torch.expm1(-self._piece(t)[0]))

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        integral, rate = self._piece(t)
        slope = -rate / 2 * torch.exp(-integral / 2)
        if not self.zero_terminal_snr:
            return slope
        end = -self.steps * torch.exp(-_knots(self)[-2] / 2).to(t.device)
        return torch.where(t * self.steps >= self.steps - 1, end, slope)

    def sigma_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return -self.alpha(t) * self.alpha_rate(t) / self.sigma(t)

    def time(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        knots = _knots(self).to(log_snr.device)
        integral = F.softplus(-log_snr, threshold=40)
        step = (torch.searchsorted(knots, integral.contiguous(), right=True) - 1).clamp(0, self.steps - 1)
        past = (integral - knots[step]) / (knots[step + 1] - knots[step])
        if self.zero_terminal_snr:
            past = torch.where(step == self.steps - 1, -torch.expm1((knots[step] - integral) / 2), past)
        return (step + past) / self.steps


@cache
def _knots(betas: Betas) -> Tensor:
    """-log alpha^2 at 0, 1 / T, ..., 1."""
    values = torch.tensor(betas.given, dtype=torch.float64)
    if not betas.given:
        values = SPACINGS[betas.spacing](betas.start, betas.end, betas.steps)
    knots = F.pad(-torch.log1p(-values).cumsum(0), (1, 0))
    if betas.zero_terminal_snr:
        alpha = torch.exp(-knots[1:] / 2)
        knots[1:] = -2 * torch.log((alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1]))
    return knots
