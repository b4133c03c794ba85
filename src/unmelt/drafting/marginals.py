"""A masked diffusion as a drafter: all tokens of a block in one pass, or in a few.

The drafter's row is the end of the text, then masks. A pass believes something of each mask given the text and the
tokens of earlier passes, and tokens of one pass are drawn independently: q of a block in one pass is the product of
marginals. With more passes, places are drawn from left to right or in another order, in equal parts; what their laws
are for verification says `any_order`. The denoiser may believe anything at all: better beliefs are accepted more often,
and the law of the text is the verifier's.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.denoiser.denoiser import Denoiser
from unmelt.drafting.any_order import law_of_passes
from unmelt.drafting.draft import Draft
from unmelt.errors import UsageError
from unmelt.guidance.temperature import check_temperature, tempered
from unmelt.posterior import Categorical, draw
from unmelt.rng import RowSeeds
from unmelt.sampler.tokens.masks import check_masks
from unmelt.sampler.tokens.order import LeftToRight, Order


@final
@checked_init("um.drafting.Marginals")
@dataclass(frozen=True)
class Marginals:
    """A drafter that wraps a denoiser on masks with the verifier's tokenizer.

    Args:
        denoiser: The denoiser, such as that of a masked `TextModel`.
        passes: Network calls for a block.
        order: Which places the passes draw first; `LeftToRight` wastes nothing, since a token that is drawn before one
            to the left of it counts as given.
        temperature: Of the drafted tokens: 0 drafts the likeliest ones, which suits a greedy verifier.
        context: Tokens of text that are read, the last ones. None: as many as fit.

    Raises:
        UsageError: If the denoiser's process does not mask, or a number is out of range.
    """

    denoiser: Denoiser
    passes: int = 1
    order: Order = LeftToRight()
    temperature: float = 1.0
    context: int | None = None

    def __post_init__(self) -> None:
        check_masks(self.denoiser)
        check_temperature(self.temperature)
        if self.passes < 1 or (self.context is not None and self.context < 0):
            given = f"Marginals with passes={self.passes}, context={self.context}"
            raise UsageError(given, "at least one pass, and 0 or more tokens", "Marginals(denoiser, passes=1)")

    @property
    def layers(self) -> tuple[int, ...]:
        """No layers of the verifier."""
        return ()

    @torch.no_grad()
    def __call__(
        self,
        x: Int64[Tensor, "rows length"],
        lengths: Int64[Tensor, " rows"],
        hidden: Float[Tensor, "rows length features"] | None,
        k: int,
        rng: RowSeeds,
    ) -> Draft:
        """See `Drafter`.

        Raises:
            UsageError: If a row of the denoiser is shorter than the block, or it believes nothing.
        """
        process, longest = check_masks(self.denoiser), self.denoiser.shape[0]  # type: ignore[attr-defined]
        if k > longest:
            raise UsageError(f"a block of {k} tokens", f"at most {longest}, the denoiser's", f"block={longest}")
        context = longest - k if self.context is None else min(self.context, longest - k)
        y, begin = self._row(x, lengths, context, k)
        places = begin[:, None] + torch.arange(k, device=x.device)
        width, tokens = process.vocabulary, torch.zeros_like(places)
        beliefs = torch.zeros(len(x), k, width, dtype=torch.float64, device=x.device)
        passes = torch.full_like(places, self.passes)
        for number in range(min(self.passes, k)):
            t = process.schedule.time(1 - process.masked(y).double().mean(1))
            logits = self.denoiser(y, t, None).logits
            logits = logits.gather(1, places[..., None].expand(-1, -1, width))
            u = rng.uniform((len(x), k, 2), torch.float64, x.device)
            rng = rng.advance()
            chosen = self._chosen(Categorical(logits), u[..., 0], passes == self.passes, number)
            log_q = tempered(logits.double(), self.temperature).log_softmax(-1)
            tokens = torch.where(chosen, draw(log_q.exp(), u[..., 1]), tokens)
            beliefs = torch.where(chosen[..., None], log_q, beliefs)
            passes = passes.masked_fill(chosen, number)
            y = y.scatter(1, places, torch.where(passes < self.passes, tokens, process.mask))
        law = law_of_passes(beliefs, tokens, passes)
        return Draft(tokens, torch.full_like(lengths, k), law)

    def _row(self, x: Tensor, lengths: Tensor, context: int, k: int) -> tuple[Tensor, Tensor]:
        """The end of each text and masks after it, as wide in any batch; and where the masks begin."""
        mask = check_masks(self.denoiser).mask
        begin = lengths.clamp_max(context)
        every = torch.arange(context + k, device=x.device)
        source = (lengths - begin)[:, None] + every
        text = x.gather(1, source.clamp_max(x.shape[1] - 1))
        return torch.where(every < begin[:, None], text, mask), begin

    def _chosen(self, belief: Categorical, u: Tensor, is_open: Tensor, number: int) -> Tensor:
        """True at the places that this pass draws, which depend on no token of this pass."""
        k = is_open.shape[1]
        due = (number + 1) * k // min(self.passes, k) - number * k // min(self.passes, k)
        rank = self.order.rank(belief.probabilities, u).double()
        rank = rank.clamp_min(torch.finfo(rank.dtype).min).masked_fill(~is_open, -torch.inf)
        first = rank.argsort(stable=True, dim=1, descending=True)[:, :due]
        return torch.zeros_like(is_open).scatter(1, first, True)
