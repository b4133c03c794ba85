"""How many positions are written in one network call, given the order."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError


class Pace(ABC):
    """How many tokens are written in one network call."""

    @abstractmethod
    def chosen(self, law: Float[Tensor, "rows n vocabulary"], due: Int64[Tensor, " rows"]) -> Bool[Tensor, "rows n"]:
        """Which positions are written, of positions that are sorted by the order of writing.

        Args:
            law: Probabilities of the tokens at each position, sorted, as the model believes before any temperature.
            due: For each row, how many tokens the grid would have written by now that are still masks.

        Returns:
            True where a position is written, in the same order. The first is written in any case.
        """


@final
@dataclass(frozen=True)
class Scheduled(Pace):
    """As many tokens as the grid schedules, so that a step is one network call."""

    def chosen(self, law: Tensor, due: Tensor) -> Tensor:
        return torch.arange(law.shape[1], device=law.device) < due[:, None]


@final
@checked_init("um.sampler.tokens.Threshold")
@dataclass(frozen=True)
class Threshold(Pace):
    """All positions whose likeliest token has at least a given probability, and always the first (Wu et al., 2025).

    Args:
        least: The smallest such probability.
        minimum: Positions that are written in any case.

    Raises:
        UsageError: If the probability is not above 0 and at most 1, or the minimum is below 1.
    """

    least: float = 0.9
    minimum: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.minimum, bool) or self.minimum < 1:
            raise UsageError(f"Threshold with minimum={self.minimum!r}", "at least 1 position", "Threshold(minimum=1)")
        if not 0 < self.least <= 1:
            raise UsageError(f"Threshold({self.least})", "a probability above 0, at most 1", "threshold=0.9")

    def chosen(self, law: Tensor, due: Tensor) -> Tensor:
        return (law.amax(-1) >= self.least) | (torch.arange(law.shape[1], device=law.device) < self.minimum)


@final
@checked_init("um.sampler.tokens.EntropyBound")
@dataclass(frozen=True)
class EntropyBound(Pace):
    """As many tokens as keep a bound on their mutual information within a budget (Ben-Hamu et al., 2025).

    The sum of their entropies without the largest bounds the mutual information that independent draws ignore. One
    token alone loses nothing.

    Args:
        entropy_budget: The bound's largest value in one network call, in nats.

    Raises:
        UsageError: If the budget is below 0.
    """

    entropy_budget: float = 0.1

    def __post_init__(self) -> None:
        if not self.entropy_budget >= 0:
            raise UsageError(f"EntropyBound({self.entropy_budget})", "nats, not below 0", "EntropyBound(0.1)")

    def chosen(self, law: Tensor, due: Tensor) -> Tensor:
        entropy = -torch.xlogy(law, law).sum(-1)
        lost = entropy.cumsum(1) - entropy.cummax(1).values
        return (lost <= self.entropy_budget).cummin(1).values
