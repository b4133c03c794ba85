"""A drafted block and the law it was drawn from: the protocol of drafters.

    drafter(x, lengths, hidden, k, rng) -> x_1 ... x_k after each row's text, and q_1 ... q_k

A law is either a table of log-probabilities or, for a drafter without noise, a point at the drafted token. See
`verification` for what a law must be, and `any_order` for blocks that are not drawn from left to right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.rng import RowSeeds

NORMALISED = 1e-6
"""Largest difference to 1 of the sum of a drafter's law."""


@dataclass(frozen=True)
class Draft:
    """A block of tokens after each row's text.

    Args:
        tokens: The tokens.
        counts: How many of a row's tokens are drafted, counted from the first; the others do not count. That a token
            is drafted must not depend on the token itself.
        log_q: Log-probabilities that each token was drawn from, given the tokens before it. None: points at the tokens,
            for a drafter without noise.
    """

    tokens: Int64[Tensor, "rows k"]
    counts: Int64[Tensor, " rows"]
    log_q: Float[Tensor, "rows k vocabulary"] | None = None

    @classmethod
    def nothing(cls, rows: int, k: int = 0, device: torch.device | str = "cpu") -> Draft:
        """A block in which no token is drafted.

        Args:
            rows: Number of rows.
            k: Places of the block.
            device: Where it is allocated.

        Returns:
            The block.
        """
        tokens = torch.zeros(rows, k, dtype=torch.int64, device=device)
        return cls(tokens, tokens.new_zeros(rows))

    @property
    def probabilities_of_tokens(self) -> Float64[Tensor, "rows k"]:
        """q of each token."""
        if self.log_q is None:
            return torch.ones(self.tokens.shape, dtype=torch.float64, device=self.tokens.device)
        return self.log_q.gather(2, self.tokens[..., None])[..., 0].exp()

    def law_at(self, place: Int64[Tensor, " rows"], vocabulary: int) -> Float64[Tensor, "rows vocabulary"]:
        """The law of one token of each row.

        Args:
            place: Its place in the block.
            vocabulary: Number of tokens.

        Returns:
            Probabilities.
        """
        every = torch.arange(len(place), device=place.device)
        if self.log_q is None:
            return F.one_hot(self.tokens[every, place], vocabulary).double()
        return self.log_q[every, place].exp()

    def at_most(self, counts: Int64[Tensor, " rows"]) -> Draft:
        """The same block, of which fewer tokens count. Places at which no row has any are left out.

        Args:
            counts: The largest number for each row, which depends on nothing that was drafted.

        Returns:
            The block.
        """
        counts = torch.minimum(self.counts, counts)
        k = int(counts.max()) if len(counts) else 0
        return Draft(self.tokens[:, :k], counts, None if self.log_q is None else self.log_q[:, :k])


@runtime_checkable
class Drafter(Protocol):
    """Proposes the next tokens of rows. `NGram` and `Marginals` are drafters; a trained network can be one."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers of the verifier whose hidden states it reads, 0 for the embeddings; () for none."""
        ...

    def __call__(
        self,
        x: Int64[Tensor, "rows length"],
        lengths: Int64[Tensor, " rows"],
        hidden: Float[Tensor, "rows length features"] | None,
        k: int,
        rng: RowSeeds,
    ) -> Draft:
        """Draft the next k tokens of each row.

        Args:
            x: Rows of tokens; what stands from `lengths` on is not text.
            lengths: Number of tokens of each row's text.
            hidden: The verifier's hidden states at the tokens, its `layers` side by side. Those of the tokens before
                the last one of a text are known, others have no meaning. None: not asked for.
            k: Tokens to draft.
            rng: The rows' noise, for drafting alone.

        Returns:
            The block. A row's block must not depend on other rows.
        """
        ...


def checked_draft(draft: Draft, rows: int, k: int, vocabulary: int) -> Draft:
    """A drafter's block, if its law can be right.

    Args:
        draft: The block.
        rows: Number of rows.
        k: Tokens that were asked for.
        vocabulary: Number of the verifier's tokens.

    Returns:
        The block, its law with 0 for tokens of the verifier that the drafter does not have.

    Raises:
        UsageError: If shapes differ, a law is no distribution of tokens of the verifier, or a token cannot have been
            drawn from its law.
    """
    instead = "Draft(tokens[rows, k], counts[rows], log_q[rows, k, vocabulary])"
    tokens, counts, log_q = draft.tokens, draft.counts, draft.log_q
    if tokens.shape != (rows, k) or counts.shape != (rows,) or not ((counts >= 0) & (counts <= k)).all():
        given = f"a draft of tokens {tuple(tokens.shape)} with counts {counts.tolist()}"
        raise UsageError(given, f"{rows} rows of {k} tokens, and from 0 to {k} that count", instead)
    drafted = counts[:, None] > torch.arange(k, device=counts.device)
    if not ((tokens >= 0) & (tokens < vocabulary))[drafted].all():
        raise UsageError("a drafted token outside of the vocabulary", f"tokens below {vocabulary}", instead)
    draft = replace(draft, tokens=torch.where(drafted, tokens, 0))
    if log_q is None:
        return draft
    if log_q.shape[:2] != (rows, k) or log_q.shape[2] > vocabulary or log_q.dtype != torch.float64:
        raise UsageError(
            f"a drafter's law of shape {tuple(log_q.shape)} in {log_q.dtype} for a verifier of {vocabulary} tokens",
            f"({rows}, {k}, up to {vocabulary}) in float64: drafter and verifier share a tokenizer",
            instead,
        )
    own = log_q[drafted]
    if not ((own.exp().sum(-1) - 1).abs() < NORMALISED).all():
        raise UsageError("a drafter's law that does not sum to 1", "log-probabilities", "logits.log_softmax(-1)")
    draft = replace(draft, log_q=F.pad(log_q, (0, vocabulary - log_q.shape[2]), value=-torch.inf))
    if not (draft.probabilities_of_tokens > 0)[drafted].all():
        raise UsageError(
            "a drafted token whose probability by its own law is 0", "the law that tokens were drawn from", instead
        )
    return draft
