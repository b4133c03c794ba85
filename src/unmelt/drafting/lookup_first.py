"""Look up first, and draft by another drafter where nothing is found.

    q = the looked-up point      where lookup finds something in the row's text
    q = the other drafter's      elsewhere

Which of the two drafts depends on the text alone, so that the law of a block given that choice is the law of whoever
drafted it, and verification is exact as for each of them. Copies are drafted well and for nothing by lookup; the other
drafter is asked only for rows that are no copies.
"""

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.drafting.draft import Draft, Drafter
from unmelt.drafting.ngram import NGram
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds


@final
@checked_init("um.drafting.LookupFirst")
@dataclass(frozen=True)
class LookupFirst:
    """A drafter that looks up, and asks another one where lookup finds nothing.

    Args:
        lookup: What is looked up. Two words at least are a copy more often than one is.
        otherwise: The other drafter.
        block: Tokens that the other one drafts at most. None: as many as are asked for.

    Raises:
        UsageError: If `block` is below 1.
    """

    lookup: NGram
    otherwise: Drafter
    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None and self.block < 1:
            instead = "LookupFirst(NGram(shortest=2), drafter, block=4)"
            raise UsageError(f"LookupFirst with block={self.block}", "at least 1 token", instead)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers of the verifier that the other drafter reads."""
        return self.otherwise.layers

    def __call__(
        self,
        x: Int64[Tensor, "rows length"],
        lengths: Int64[Tensor, " rows"],
        hidden: Float[Tensor, "rows length features"] | None,
        k: int,
        rng: RowSeeds,
    ) -> Draft:
        found = self.lookup(x, lengths, None, k, rng)
        is_open = found.counts == 0
        if not is_open.any():
            return found
        fewer = k if self.block is None else min(k, self.block)
        states = None if hidden is None else hidden[is_open]
        drafted = self.otherwise(x[is_open], lengths[is_open], states, fewer, rng[is_open])
        return _with_rows(found, is_open, drafted)


def _with_rows(draft: Draft, where: Bool[Tensor, " rows"], part: Draft) -> Draft:
    """A block of points with some of its rows replaced by those of another block, of as many tokens or fewer."""
    k, fewer = draft.tokens.shape[1], part.tokens.shape[1]
    tokens, counts = draft.tokens.clone(), draft.counts.clone()
    tokens[where] = F.pad(part.tokens, (0, k - fewer))
    counts[where] = part.counts
    if part.log_q is None:
        return Draft(tokens, counts)
    law = F.pad(part.log_q, (0, 0, 0, k - fewer), value=-torch.inf)
    return Draft(tokens, counts, law if where.all() else _laws(tokens, where, law))


def _laws(
    tokens: Int64[Tensor, "rows k"], where: Bool[Tensor, " rows"], law: Float64[Tensor, "some k vocabulary"]
) -> Float64[Tensor, "rows k wide"]:
    """The laws of some rows, and points at the tokens of the others."""
    wide = max(law.shape[2], int(tokens.max()) + 1)
    every = law.new_full((*tokens.shape, wide), -torch.inf).scatter(2, tokens[..., None], 0.0)
    every[where] = F.pad(law, (0, wide - law.shape[2]), value=-torch.inf)
    return every
