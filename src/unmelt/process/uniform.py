"""Melting to any token at all: what stands anywhere may be wrong, and can be mended to the end."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.process.tokens import Tokens
from unmelt.schedule import Linear, TokenSchedule


@final
@dataclass(frozen=True)
class Uniform(Tokens):
    """Every token alike, the one that melted among them."""

    vocabulary: int
    schedule: TokenSchedule = Linear()

    def __post_init__(self) -> None:
        self._check()

    @cached_property
    def limit(self) -> Float64[Tensor, " symbols"]:
        return torch.full((self.vocabulary,), 1 / self.vocabulary, dtype=torch.float64)
