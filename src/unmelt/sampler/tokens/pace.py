"""How many places to write in one pass, given the order."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unmelt.errors import UsageError


class Pace(ABC):
    @abstractmethod
    def chosen(
        self, law: Float[Tensor, "rows places vocabulary"], due: Int64[Tensor, " rows"]
    ) -> Bool[Tensor, "rows places"]:
        """Which to write of places that stand in order, the first to be written first.

        law   what is believed of each
        due   how many the grid would have written by now and are not
        """


@final
@dataclass(frozen=True)
class Scheduled(Pace):
    """As many as the grid says: the number of passes is known beforehand."""

    def chosen(self, law: Tensor, due: Tensor) -> Tensor:
        return torch.arange(law.shape[1], device=law.device) < due[:, None]


@final
@dataclass(frozen=True)
class Threshold(Pace):
    """All whose likeliest token is at least this probable, and always the first (Wu et al., 2025)."""

    least: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise UsageError(f"Threshold({self.least})", "a probability above 0, at most 1", "threshold=0.9")

    def chosen(self, law: Tensor, due: Tensor) -> Tensor:
        return (law.amax(-1) >= self.least) | (torch.arange(law.shape[1], device=law.device) == 0)


@final
@dataclass(frozen=True)
class EntropyBound(Pace):
    """As many as keep what is lost by writing them at once below `nats` (Ben-Hamu et al., 2025).

    The sum of their entropies without the largest bounds the mutual information that independent draws ignore; the
    first alone loses nothing.
    """

    entropy_budget: float = 0.1

    def __post_init__(self) -> None:
        if not self.entropy_budget >= 0:
            raise UsageError(f"EntropyBound({self.entropy_budget})", "nats, not below 0", "EntropyBound(0.1)")

    def chosen(self, law: Tensor, due: Tensor) -> Tensor:
        entropy = -torch.xlogy(law, law).sum(-1)
        lost = entropy.cumsum(1) - entropy.cummax(1).values
        return (lost <= self.entropy_budget).cummin(1).values
