"""Melting to a mask: what has melted says so, and what has not is certain (absorbing; Austin et al., 2021)."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from unmelt.posterior import Categorical
from unmelt.process.tokens import Tokens, expand_places
from unmelt.rng import Random
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

    def bridge(
        self,
        x_t: Int64[Tensor, "rows *shape"],
        posterior: Categorical,
        t: Float[Tensor, " rows"],
        s: Float[Tensor, " rows"],
        rng: Random,
    ) -> Int64[Tensor, "rows *shape"]:
        """A mask falls with probability (alpha_s - alpha_t) / (1 - alpha_t): whether is decided before which."""
        alpha_t, alpha_s = (expand_places(self.schedule.alpha(each), x_t) for each in (t, s))
        falls = torch.where(alpha_t < 1, (alpha_s - alpha_t) / (1 - alpha_t), 0.0)
        u = rng.uniform((*x_t.shape, 2), torch.float64, x_t.device)
        return posterior.write(x_t, self.masked(x_t) & (u[..., 0] < falls), u[..., 1])
