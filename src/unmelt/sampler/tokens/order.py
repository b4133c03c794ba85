"""Which of the masked places to write first: a number for each, the highest first."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor


class Order(ABC):
    @abstractmethod
    def rank(
        self, law: Float[Tensor, "rows places vocabulary"], u: Float64[Tensor, "rows places"]
    ) -> Float[Tensor, "rows places"]:
        """How early each place is written, by what is believed of it; `u` is a number from [0, 1) for each."""


@final
@dataclass(frozen=True)
class Confidence(Order):
    """The probability of the likeliest token (Chang et al., 2022)."""

    def rank(self, law: Tensor, u: Tensor) -> Tensor:
        return law.amax(-1)


@final
@dataclass(frozen=True)
class Margin(Order):
    """By how much the likeliest token leads the second (Kim et al., 2025)."""

    def rank(self, law: Tensor, u: Tensor) -> Tensor:
        if law.shape[-1] == 1:
            return law[..., 0]
        first, second = law.topk(2, dim=-1).values.unbind(-1)
        return first - second


@final
@dataclass(frozen=True)
class NegativeEntropy(Order):
    """Low entropy of the whole belief."""

    def rank(self, law: Tensor, u: Tensor) -> Tensor:
        return torch.xlogy(law, law).sum(-1)


@final
@dataclass(frozen=True)
class Random(Order):
    """Any order: with one token a pass, exact in law."""

    def rank(self, law: Tensor, u: Tensor) -> Tensor:
        return u


@final
@dataclass(frozen=True)
class LeftToRight(Order):
    """As it is read: with one token a pass, what autoregression does."""

    def rank(self, law: Tensor, u: Tensor) -> Tensor:
        return -torch.arange(u.shape[1], dtype=u.dtype, device=u.device).expand_as(u)
