"""DDPM's discrete chain of betas as a schedule in continuous time.

    alpha^2(i / T) = prod_{j <= i} (1 - beta_j),      -log alpha^2 linear in t between

(Ho et al., 2020, section 2.) The schedule is exact at the T times of the chain, so a network trained on them sees what
it was trained on. Between them beta is constant, so log signal-to-noise ratio can be inverted exactly. diffusers counts
from 0: its timestep i is t = (i + 1) / T.
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

from unmelt import config
from unmelt.errors import UsageError, nearest
from unmelt.schedule import Schedule

MOST_STEPS = 100_000


def _cosine(start: float, end: float, steps: int) -> Tensor:
    """The cosine schedule (Nichol and Dhariwal, 2021, equation 17), with its cap at 0.999."""
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    signal = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - signal[1:] / signal[:-1]).clamp_max(0.999)


SPACINGS: dict[str, Callable[[float, float, int], Tensor]] = {
    "linear": lambda start, end, steps: torch.linspace(start, end, steps, dtype=torch.float64),
    "scaled_linear": lambda start, end, steps: torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2,
    "squaredcos_cap_v2": _cosine,
}
"""Beta schedules by the names that diffusers gives them."""


@config.register
@final
@dataclass(frozen=True)
class Betas(Schedule):
    """A schedule made of a chain of betas.

    Args:
        spacing: Shape of the chain, by diffusers' name: "linear", "scaled_linear" or "squaredcos_cap_v2".
        start: First beta.
        end: Last beta.
        steps: Number of betas, T.
        given: The betas themselves, one by one, instead of spacing, start and end; empty for none.

    Raises:
        UsageError: If the spacing is unknown, a beta is not between 0 and 1, or the number of betas is wrong.
    """

    spacing: str = "linear"
    start: float = 1e-4
    end: float = 0.02
    steps: int = 1000
    given: tuple[float, ...] = ()

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

    def _piece(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """-log alpha^2 at t, and its derivative there."""
        knots = _knots(self).to(t.device)
        step = (t * self.steps).floor().long().clamp(0, self.steps - 1)
        rise = knots[step + 1] - knots[step]
        return knots[step] + (t * self.steps - step) * rise, self.steps * rise

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.exp(-self._piece(t)[0] / 2)

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sqrt(-torch.expm1(-self._piece(t)[0]))

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        integral, rate = self._piece(t)
        return -rate / 2 * torch.exp(-integral / 2)

    def sigma_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        integral, rate = self._piece(t)
        return rate / 2 * torch.exp(-integral) / torch.sqrt(-torch.expm1(-integral))

    def time(self, log_snr: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        knots = _knots(self).to(log_snr.device)
        integral = F.softplus(-log_snr, threshold=40)
        step = (torch.searchsorted(knots, integral.contiguous(), right=True) - 1).clamp(0, self.steps - 1)
        return (step + (integral - knots[step]) / (knots[step + 1] - knots[step])) / self.steps


@cache
def _knots(betas: Betas) -> Tensor:
    """-log alpha^2 at 0, 1 / T, ..., 1."""
    values = torch.tensor(betas.given, dtype=torch.float64)
    if not betas.given:
        values = SPACINGS[betas.spacing](betas.start, betas.end, betas.steps)
    return F.pad(-torch.log1p(-values).cumsum(0), (1, 0))
