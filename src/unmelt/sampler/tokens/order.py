"""Which masked positions are written first: a score for each, the highest first."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor


class Order(ABC):
    """In which order the masked positions of a row are written."""

    @abstractmethod
    def rank(self, law: Float[Tensor, "rows n vocabulary"], u: Float64[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
        """The score of every position; positions with higher scores are written earlier.

        Args:
            law: Probabilities of the tokens at each position, as the model believes before any temperature.
            u: A uniform draw from [0, 1) for each position.

        Returns:
            The scores.
        """


@final
@dataclass(frozen=True)
class Confidence(Order):
    """Positions with the highest probability of their likeliest token first (Chang et al., 2022)."""

    def rank(self, law: Tensor, u: Tensor) -> Tensor:
        return law.amax(-1)


@final
@dataclass(frozen=True)
class Margin(Order):
    """Positions whose likeliest token leads the second by the largest probability first (Kim et al., 2025)."""

    def rank(self, law: Tensor, u: Tensor) -> Tensor:
        if law.shape[-1] == 1:
            return law[..., 0]
        first, second = law.topk(2, dim=-1).values.unbind(-1)
        return first - second


@final
@dataclass(frozen=True)
class NegativeEntropy(Order):
    """Positions with the lowest entropy first."""

    def rank(self, law: Tensor, u: Tensor) -> Tensor:
        return torch.xlogy(law, law).sum(-1)


@final
@dataclass(frozen=True)
class Random(Order):
    """A uniformly random order. With one token per network call it is exact in law."""

    def rank(self, law: Tensor, u: Tensor) -> Tensor:
        return u


@final
@dataclass(frozen=True)
class LeftToRight(Order):
    """The order of reading. With one token per network call it is autoregressive decoding."""

    def rank(self, law: Tensor, u: Tensor) -> Tensor:
        return -torch.arange(u.shape[1], dtype=u.dtype, device=u.device).expand_as(u)
