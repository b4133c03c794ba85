"""Speculative decoding as a sampler of tokens, for autoregressive models wherever a sampler goes.

    step to s:      while a row has more masks than are due at s, a pass: draft, verify, write (see `verification`)

A row is far ahead of its schedule after a pass that accepted much, and then waits without a network call. The law is
that of one token a pass. Temperature, nucleus and a fixed rule of allowed tokens are part of the verified law p.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.backbone.kv_cache import KVCache
from unmelt.condition import FIELDS, Condition
from unmelt.denoiser import Autoregressive
from unmelt.denoiser.denoiser import Denoiser
from unmelt.drafting.autoregressive_verifier import AutoregressiveVerifier
from unmelt.drafting.draft import Drafter, checked_draft
from unmelt.drafting.streams import Streams
from unmelt.drafting.verification import verify
from unmelt.errors import UsageError
from unmelt.guidance import AllowedTokens, Temperature, TopP
from unmelt.guidance.token_transform import TokenTransform
from unmelt.posterior import Categorical, no_distribution
from unmelt.process import Mask
from unmelt.rng import RowSeeds
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.sampler.tokens.due import ended, masks_at_start, unmask_until
from unmelt.sampler.tokens.masks import check_masks

CACHE = tuple(field.name for field in fields(KVCache))
"""Names of the cache's tensors in a state's memory."""


@final
@checked_init("um.drafting.SpeculativeSampler")
@dataclass(frozen=True)
class SpeculativeSampler(Sampler):
    """A sampler of autoregressive models of text that drafts several tokens for a pass.

    Args:
        drafter: Proposes tokens, from tokens alone: `NGram()`, or `Marginals` of a masked model.
        block: Tokens that are drafted for a pass.
        end_token: End-of-text token: once written, the rest of the row becomes this token. None: no such token.

    Raises:
        UsageError: If the block is below 1, or the drafter reads hidden states.
    """

    keeps_known_tokens: ClassVar[bool] = True

    drafter: Drafter
    block: int = 8
    end_token: int | None = None

    def __post_init__(self) -> None:
        if self.block < 1 or self.drafter.layers:
            raise UsageError(
                f"a SpeculativeSampler with block={self.block} and a drafter that reads layers {self.drafter.layers}",
                "at least 1 token, from a drafter that reads tokens alone",
                "SpeculativeSampler(NGram(), block=8)",
            )

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        """See `Sampler.init`.

        Raises:
            UsageError: If the denoiser is not an autoregressive one, or more is known than tokens.
        """
        process, verifier = check_masks(denoiser), _verified(denoiser)[0]
        if condition is not None:
            others = [name for name in FIELDS if name != "known_tokens" and getattr(condition, name) is not None]
            if others := [*others, *condition.extra]:
                raise UsageError(f"a SpeculativeSampler with {others[0]}", "known tokens alone", "Unmask(cache=True)")
        memory = {"total": masks_at_start(process, x, t), **vars(verifier.init_cache(len(x), x.shape[1]))}
        return State.start(x, t, rng, condition, **memory)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process, (verifier, transforms) = check_masks(denoiser), _verified(denoiser)
        return unmask_until(process, state, s, lambda rows, _: self._pass(process, verifier, transforms, rows))

    def _pass(
        self, process: Mask, verifier: AutoregressiveVerifier, transforms: list[TokenTransform], state: State
    ) -> State:
        """The state after one pass, in which the first masks of every row are written."""
        x, streams = state.x, Streams.of(state.rng)
        rows, length = x.shape
        every = torch.arange(length, device=x.device)
        masked = process.masked(x)
        begin = masked.int().argmax(1)
        room = torch.where(~masked & (every > begin[:, None]), every, length).amin(1) - begin
        draft = self.drafter(x, begin, None, self.block, streams.draft)
        draft = checked_draft(draft, rows, self.block, verifier.vocabulary).at_most(room - 1)
        k = draft.tokens.shape[1]
        cache = KVCache(**{name: state.recall(name) for name in CACHE})
        seen = verifier.read(_placed(x, begin, draft.tokens), begin, k + 1, cache)
        positions = begin[:, None] + torch.arange(k + 1, device=x.device)
        p = _law(seen.logits, transforms, x, positions.clamp_max(length - 1))
        accept = streams.accept.uniform((rows, self.block), torch.float64, x.device)[:, :k]
        verdict = verify(p, draft, accept, streams.redraw.uniform((rows,), torch.float64, x.device))
        new = F.pad(draft.tokens, (0, 1)).scatter(1, verdict.accepted[:, None], verdict.token[:, None])
        is_new = (every >= begin[:, None]) & (every <= (begin + verdict.accepted)[:, None])
        x = ended(process, torch.where(is_new, _placed(x, begin, new), x), self.end_token)
        x0 = torch.where(process.masked(x), state.x0, x)
        kept = verifier.retain(seen.cache, begin + verdict.accepted + 1)
        return state.moved(x, state.t, x0, state.rng.advance(), **vars(kept))


def _placed(x: Int64[Tensor, "rows length"], begin: Int64[Tensor, " rows"], new: Tensor) -> Tensor:
    """x with tokens from `begin` on; what is after the end of a row is dropped."""
    places = begin[:, None] + torch.arange(new.shape[1], device=x.device)
    return F.pad(x, (0, new.shape[1])).scatter(1, places, new)[:, : x.shape[1]]


def _law(
    logits: Float[Tensor, "rows n vocabulary"], transforms: list[TokenTransform], x: Tensor, positions: Tensor
) -> Float64[Tensor, "rows n vocabulary"]:
    """The law that tokens are drawn from."""
    belief = Categorical(logits)
    for each in transforms:
        belief = each.change(belief, x, positions)
    law = belief.probabilities
    if (wrong := law[..., 0].isnan()).any():
        row, place = wrong.nonzero()[0].tolist()
        raise no_distribution(belief.logits[row, place], [int(positions[row, place])], None)
    return law


def _verified(denoiser: Any) -> tuple[AutoregressiveVerifier, list[TokenTransform]]:
    """The autoregressive denoiser, and what changes its beliefs, innermost first."""
    transforms: list[TokenTransform] = []
    inner = denoiser
    while isinstance(inner, Temperature | TopP | AllowedTokens) and not callable(getattr(inner, "tokens", None)):
        transforms.insert(0, inner)
        inner = inner.denoiser
    if not isinstance(inner, Autoregressive):
        raise UsageError(
            f"a SpeculativeSampler for a {type(inner).__name__}",
            "an Autoregressive denoiser, whose beliefs nothing changes but temperature, top_p and a fixed rule",
            "Unmask(cache=True)",
        )
    return AutoregressiveVerifier(inner), transforms
