"""Melting to a mask or to any token: masks to fill in, and wrong tokens to correct.

    pi(mask) = masks,      pi(v) = (1 - masks) / vocabulary

(von Rütte et al., 2025, with a share of masks that does not change over time.)
"""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.process.tokens import Tokens
from unmelt.schedule import TokenLinear, TokenSchedule


@final
@checked_init("um.process.Blend")
@dataclass(frozen=True)
class Blend(Tokens):
    """Process that melts tokens to masks and to uniform noise.

    Args:
        vocabulary: Number of tokens; the mask is symbol number `vocabulary`.
        schedule: Share of tokens left at each time.
        masks: Share of melted tokens that become a mask; each of the others becomes any token.

    Raises:
        UsageError: If the vocabulary is not a whole number above 0, or masks is not in [0, 1].
    """

    vocabulary: int
    schedule: TokenSchedule = TokenLinear()
    masks: float = 0.9

    def __post_init__(self) -> None:
        self._check()
        if not 0 <= self.masks <= 1:
            raise UsageError(f"Blend with masks={self.masks}", "a share from 0 to 1", "Blend(256, masks=0.9)")

    @property
    def mask(self) -> int:
        """The symbol that is the mask."""
        return self.vocabulary

    @cached_property
    def limit(self) -> Float64[Tensor, " symbols"]:
        pi = torch.full((self.vocabulary + 1,), (1 - self.masks) / self.vocabulary, dtype=torch.float64)
        pi[self.mask] = self.masks
        return pi
