"""Token schedules: the probability alpha(t) that a token has not melted at time t.

    alpha(0) = 1,      alpha decreases,      alpha(1) = 0: no token is left

As for Gaussian processes, a schedule only sets the speed: a token melts at rate -alpha' / alpha, whatever it melts to.
Times are float64 tensors of any shape; results have the same shape.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError


class TokenSchedule(ABC):
    """The share of tokens that have not melted at time t."""

    @abstractmethod
    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The probability that a token has not melted: 1 at t = 0, decreasing.

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
    def time(self, alpha: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The time at which a share of the tokens is left: the exact inverse of `alpha`.

        Args:
            alpha: [*n], shares in [0, 1].

        Returns:
            [*n], times.
        """


@final
@dataclass(frozen=True)
class TokenLinear(TokenSchedule):
    """alpha = 1 - t: equally many tokens melt in equal times.

    Also called "log-linear", since its integrated rate is -log(1 - t).
    """

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return 1 - t

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return -torch.ones_like(t)

    def time(self, alpha: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return 1 - alpha


@final
@checked_init("um.schedule.TokenPolynomial")
@dataclass(frozen=True)
class TokenPolynomial(TokenSchedule):
    """alpha = 1 - t^power (Shi et al., 2024, table 1).

    Args:
        power: The exponent; 1 is linear, above 1 few tokens melt early.

    Raises:
        UsageError: If the power is not a positive number.
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.power < math.inf:
            raise UsageError(f"Polynomial with power={self.power}", "a positive number", "TokenPolynomial(power=2.0)")

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return 1 - t**self.power

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return -self.power * t ** (self.power - 1)

    def time(self, alpha: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return (1 - alpha) ** (1 / self.power)


@final
@dataclass(frozen=True)
class TokenCosine(TokenSchedule):
    """alpha = 1 - sin(pi t / 2): sampling unmasks few tokens while most are masked (Chang et al., 2022)."""

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return 1 - torch.sin(math.pi / 2 * t)

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return -math.pi / 2 * torch.cos(math.pi / 2 * t)

    def time(self, alpha: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return 2 / math.pi * torch.asin(1 - alpha)


@final
@checked_init("um.schedule.TokenGeometric")
@dataclass(frozen=True)
class TokenGeometric(TokenSchedule):
    """-log alpha grows geometrically from exactly 0 to `highest` (Lou et al., 2024, appendix C, with an exact start).

        -log alpha(t) = lowest ((highest / lowest + 1)^t - 1)

    A share e^-highest of the tokens is left at t = 1.

    Args:
        lowest: The scale of -log alpha at small t.
        highest: -log alpha at t = 1, above `lowest`.

    Raises:
        UsageError: Unless 0 < lowest < highest.
    """

    lowest: float = 1e-3
    highest: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.lowest < self.highest < math.inf:
            raise UsageError(
                f"TokenGeometric({self.lowest}, {self.highest})", "0 < lowest < highest", "TokenGeometric(1e-3, 20.0)"
            )

    @property
    def _growth(self) -> float:
        return math.log(self.highest / self.lowest + 1)

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.exp(-self.lowest * torch.expm1(self._growth * t))

    def alpha_rate(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return -self.lowest * self._growth * torch.exp(self._growth * t) * self.alpha(t)

    def time(self, alpha: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.log1p(-torch.log(alpha) / self.lowest) / self._growth
