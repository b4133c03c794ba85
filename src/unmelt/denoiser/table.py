"""The exact denoiser of tokens: a distribution over all sequences, few enough to enumerate.

    p(x0 | x_t) proportional to p(x0) prod_i q(x_t^i | x0^i),      summed over all sequences

Its beliefs are the exact posterior marginals, for every process on tokens. Tests of token diffusion compare with it.
"""

from typing import final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.posterior import Categorical
from unmelt.process.tokens import Tokens

MOST = 1 << 20
"""Largest number of sequences."""


@final
@checked_init("um.denoiser.ExactTokenDenoiser")
class ExactTokenDenoiser:
    """Exact denoiser of a given distribution over sequences.

    Args:
        law: p(x0), of shape [vocabulary] * length, not negative; normalised here.
        process: The process that corrupts the tokens.

    Raises:
        UsageError: If the shape does not fit the vocabulary, there are too many sequences, or the numbers are no
            probabilities.
    """

    def __init__(self, law: Float[Tensor, "*vocabularies"], process: Tokens) -> None:
        if law.ndim == 0 or set(law.shape) != {process.vocabulary} or law.numel() > MOST:
            raise UsageError(
                f"a law of shape {tuple(law.shape)}",
                f"{process.vocabulary} for each position, {MOST:,} sequences at most",
                f"torch.rand({', '.join(['3'] * 4)})",
            )
        if not (law >= 0).all() or not law.sum().isfinite() or law.sum() == 0:
            raise UsageError("a law with numbers that are no probabilities", "none below 0, and not all 0", "law.abs()")
        self.process = process
        self.law = law.double() / law.double().sum()

    @property
    def shape(self) -> tuple[int, ...]:
        """(length,), the shape of one row."""
        return (self.law.ndim,)

    @property
    def sequences(self) -> Int64[Tensor, "n length"]:
        """All sequences, in the order of the law's flat view."""
        tokens = [torch.arange(size) for size in self.law.shape]
        return torch.cartesian_prod(*tokens).view(-1, self.law.ndim)

    def log_likelihood(self, x: Int64[Tensor, "rows length"]) -> Float64[Tensor, " rows"]:
        """log p(x0) in nats.

        Args:
            x: [rows, length], tokens.

        Returns:
            [rows], log probabilities.
        """
        return self.law[tuple(x.unbind(1))].log()

    def given(self, tokens: Int64[Tensor, " length"], known: Tensor) -> "ExactTokenDenoiser":
        """Condition the distribution on some tokens.

        Args:
            tokens: [length], tokens.
            known: [length], bool: the positions at which a sequence must have these tokens.

        Returns:
            The conditional distribution.
        """
        fits = (self.sequences == tokens)[:, known].all(1).view(self.law.shape)
        return ExactTokenDenoiser(self.law * fits, self.process)

    def __call__(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        likelihood, sequences = self.process.likelihood(x_t, t), self.sequences
        given = torch.nn.functional.one_hot(x_t, self.process.symbols)[..., : self.process.vocabulary].to(likelihood)
        # at t = 1 a token of the data is impossible under some processes; one that is there was given as known
        likelihood = torch.where(likelihood.sum(-1, keepdim=True) > 0, likelihood, given)
        joint = self.law.flatten().expand(len(x_t), -1)
        for position in range(self.law.ndim):
            joint = joint * likelihood[:, position, sequences[:, position]]
        joint = joint / joint.sum(1, keepdim=True)
        one_hot = torch.nn.functional.one_hot(sequences, self.process.vocabulary).double()
        return Categorical(torch.einsum("rn,nlv->rlv", joint, one_hot).log())
