"""A law over all sequences, few enough to list: the truth that tests of token diffusion stand on.

    p(x0 | x_t) proportional to p(x0) prod_i q(x_t^i | x0^i),      summed over all sequences

Its beliefs are the exact posterior marginals, for every process on tokens.
"""

from typing import final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.posterior import Categorical
from unmelt.process.tokens import Tokens

MOST = 1 << 20
"""Sequences that are still few."""


@final
class Table:
    """law   p(x0), [vocabulary] * length, not negative; it is normalised here"""

    def __init__(self, law: Float[Tensor, "*vocabularies"], process: Tokens) -> None:
        if law.ndim == 0 or set(law.shape) != {process.vocabulary} or law.numel() > MOST:
            raise UsageError(
                f"a law of shape {tuple(law.shape)}",
                f"{process.vocabulary} for each place, {MOST:,} sequences at most",
                f"torch.rand({', '.join(['3'] * 4)})",
            )
        if not (law >= 0).all() or not law.sum().isfinite() or law.sum() == 0:
            raise UsageError("a law with numbers that are no probabilities", "none below 0, and not all 0", "law.abs()")
        self.process = process
        self.law = law.double() / law.double().sum()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.law.ndim,)

    @property
    def sequences(self) -> Int64[Tensor, "n length"]:
        """All of them, in the order of the law's flat view."""
        places = [torch.arange(size) for size in self.law.shape]
        return torch.cartesian_prod(*places).view(-1, self.law.ndim)

    def log_likelihood(self, x: Int64[Tensor, "rows length"]) -> Float64[Tensor, " rows"]:
        """log p of each row."""
        return self.law[tuple(x.unbind(1))].log()

    def given(self, tokens: Int64[Tensor, " length"], known: Tensor) -> "Table":
        """The law of those sequences that have these tokens where `known`."""
        fits = (self.sequences == tokens)[:, known].all(1).view(self.law.shape)
        return Table(self.law * fits, self.process)

    def __call__(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        seen, sequences = self.process.likelihood(x_t, t), self.sequences
        here = torch.nn.functional.one_hot(x_t, self.process.symbols)[..., : self.process.vocabulary].to(seen)
        seen = torch.where(
            seen.sum(-1, keepdim=True) > 0, seen, here
        )  # where all has melted, what stands was put there
        joint = self.law.flatten().expand(len(x_t), -1)
        for place in range(self.law.ndim):
            joint = joint * seen[:, place, sequences[:, place]]
        joint = joint / joint.sum(1, keepdim=True)
        here = torch.nn.functional.one_hot(sequences, self.process.vocabulary).double()
        return Categorical(torch.einsum("rn,nlv->rlv", joint, here).log())
