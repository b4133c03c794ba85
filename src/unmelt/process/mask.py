"""Melting to a mask: what has melted says so, and what has not is certain (absorbing; Austin et al., 2021)."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from unmelt.process.tokens import Tokens
from unmelt.schedule import Linear, TokenSchedule


@final
@dataclass(frozen=True)
class Mask(Tokens):
    """The mask is symbol number `vocabulary`, after all tokens."""

    vocabulary: int
    schedule: TokenSchedule = Linear()

    def __post_init__(self) -> None:
        self._check()

    @property
    def mask(self) -> int:
        return self.vocabulary

    def masked(self, x: Tensor) -> Bool[Tensor, "rows *shape"]:
        """Where nothing is known yet."""
        return x == self.mask

    @cached_property
    def limit(self) -> Float64[Tensor, " symbols"]:
        pi = torch.zeros(self.vocabulary + 1, dtype=torch.float64)
        pi[self.mask] = 1
        return pi
