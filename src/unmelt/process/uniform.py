"""Melting to any token: every place may be wrong, and can be corrected until the end.

    pi(v) = 1 / vocabulary

(Austin et al., 2021, appendix A.2.1.)
"""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.process.tokens import Tokens
from unmelt.schedule import TokenLinear, TokenSchedule


@final
@checked_init("um.process.Uniform")
@dataclass(frozen=True)
class Uniform(Tokens):
    """Process that melts tokens to the uniform law over the vocabulary.

    Args:
        vocabulary: Number of tokens.
        schedule: Share of tokens left at each time.

    Raises:
        UsageError: If the vocabulary is not a whole number above 0.
    """

    vocabulary: int
    schedule: TokenSchedule = TokenLinear()

    def __post_init__(self) -> None:
        self._check()

    @cached_property
    def limit(self) -> Float64[Tensor, " symbols"]:
        return torch.full((self.vocabulary,), 1 / self.vocabulary, dtype=torch.float64)
