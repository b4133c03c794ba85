"""Times of flow matching whose shift depends on the size of the picture.

    u = s v / (1 + (s - 1) v),   v in equal steps,   s = exp(mu) or mu,   mu a function of the tokens of a picture

Larger pictures need more noise to be as blurred (Esser et al., 2024, section 5.3.2). mu is linear in the tokens; that
of Flux 2 also depends on the steps, and is what its authors fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, prod
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.sampler.grid import Spacing
from unmelt.schedule import AnySchedule, require_gaussian

FEW, MANY, MOST_TOKENS = (8.73809524e-05, 1.89833333), (0.00016927, 0.45666666), 4300
"""Flux 2: slope and offset of mu with 10 steps and with 200, and the tokens beyond which only the latter counts."""


def linear_mu(tokens: int, shifts: tuple[float, float], ends: tuple[int, int]) -> float:
    """mu on the line through two sizes.

    Args:
        tokens: Tokens of a picture.
        shifts: mu at the two sizes.
        ends: Tokens of the two sizes.

    Returns:
        mu.
    """
    slope = (shifts[1] - shifts[0]) / (ends[1] - ends[0])
    return tokens * slope + (shifts[0] - slope * ends[0])


def flux2_mu(tokens: int, steps: int) -> float:
    """mu of Flux 2.

    Args:
        tokens: Tokens of a picture.
        steps: Number of steps.

    Returns:
        mu.
    """
    few, many = (slope * tokens + offset for slope, offset in (FEW, MANY))
    return many if tokens > MOST_TOKENS else many + (steps - 200) * (many - few) / 190


@final
@dataclass(frozen=True)
class ResolutionShift(Spacing):
    """Spacing of flow matching by the size of the picture.

    Args:
        rule: "linear", or "flux2" for that of Flux 2.
        shifts: mu at the two sizes of the linear rule.
        ends: Tokens of the two sizes.
        exponential: Whether the shift is exp(mu), and not mu.
        patch: Side of the patches of latents that are tokens.
        tokens: Tokens of a picture of the model's own size.

    Raises:
        UsageError: If the rule is unknown, or there are no tokens.
    """

    rule: str = "linear"
    shifts: tuple[float, float] = (0.5, 1.15)
    ends: tuple[int, int] = (256, 4096)
    exponential: bool = True
    patch: int = 2
    tokens: int = 4096

    def __post_init__(self) -> None:
        if self.rule not in ("linear", "flux2") or min(self.tokens, self.patch) < 1 or self.ends[0] == self.ends[1]:
            raise UsageError(
                f"ResolutionShift(rule={self.rule!r}, tokens={self.tokens}, ends={self.ends})",
                "the rule 'linear' or 'flux2', at least one token, and two sizes",
                "ResolutionShift(rule='linear', tokens=4096)",
            )

    def for_shape(self, shape: Sequence[int]) -> "ResolutionShift":
        """The spacing for rows of a shape.

        Args:
            shape: [channels, height, width], of one row in model space.

        Returns:
            The spacing.
        """
        return replace(self, tokens=max(1, prod(side // self.patch for side in shape[1:])))

    def mu(self, steps: int) -> float:
        """mu with a number of steps.

        Args:
            steps: Number of steps.

        Returns:
            mu.
        """
        if self.rule == "flux2":
            return flux2_mu(self.tokens, steps)
        return linear_mu(self.tokens, self.shifts, self.ends)

    def times(self, steps: int, schedule: AnySchedule, start: float) -> Float64[Tensor, " steps"]:
        schedule = require_gaussian(schedule, "ResolutionShift")
        shift = exp(self.mu(steps)) if self.exponential else self.mu(steps)
        at = torch.tensor(start, dtype=torch.float64)
        top = schedule.sigma(at) / (schedule.alpha(at) + schedule.sigma(at))
        v = torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1] * top / (shift - (shift - 1) * top)
        u = shift * v / (1 + (shift - 1) * v)
        return schedule.time(2 * torch.log((1 - u) / u))
