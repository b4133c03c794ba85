"""Melting to a mask: a melted token is known to be melted, and a token that is left is certain.

    pi(mask) = 1

(The absorbing process of Austin et al., 2021, appendix A.2.2.)
"""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.posterior import Categorical
from unmelt.process.broadcast import expand_like
from unmelt.process.tokens import Tokens
from unmelt.rng import Random
from unmelt.schedule import TokenLinear, TokenSchedule


@final
@checked_init("um.process.Mask")
@dataclass(frozen=True)
class Mask(Tokens):
    """Process that melts tokens to a mask.

    Args:
        vocabulary: Number of tokens; the mask is symbol number `vocabulary`.
        schedule: Share of tokens left at each time.

    Raises:
        UsageError: If the vocabulary is not a whole number above 0.
    """

    vocabulary: int
    schedule: TokenSchedule = TokenLinear()

    def __post_init__(self) -> None:
        self._check()

    @property
    def mask(self) -> int:
        """The symbol that is the mask."""
        return self.vocabulary

    def masked(self, x: Tensor) -> Bool[Tensor, "rows *shape"]:
        """Which places are masks.

        Args:
            x: [rows, *shape], tokens and masks.

        Returns:
            [rows, *shape], True where x is a mask.
        """
        return x == self.mask

    @cached_property
    def limit(self) -> Float64[Tensor, " symbols"]:
        pi = torch.zeros(self.vocabulary + 1, dtype=torch.float64)
        pi[self.mask] = 1
        return pi

    def bridge(
        self,
        x_t: Int64[Tensor, "rows *shape"],
        posterior: Categorical,
        t: Float[Tensor, "rows *axes"],
        s: Float[Tensor, "rows *axes"],
        rng: Random,
    ) -> Int64[Tensor, "rows *shape"]:
        """Unmask with probability (alpha_s - alpha_t) / (1 - alpha_t): whether is decided before which."""
        alpha_t, alpha_s = (expand_like(self.schedule.alpha(each), x_t) for each in (t, s))
        rate = torch.where(alpha_t < 1, (alpha_s - alpha_t) / (1 - alpha_t), 0.0)
        u = rng.uniform((*x_t.shape, 2), torch.float64, x_t.device)
        return posterior.write(x_t, self.masked(x_t) & (u[..., 0] < rate), u[..., 1], t)
