"""Speculative decoding: draft a block, verify it in one pass, write what is accepted and one token more.

    x_1 ... x_k ~ drafter;     p_1 ... p_(k + 1) = verifier(text, x_1 ... x_k);     a, y = verify(p, q, x)
    text <- text, x_1 ... x_a, y;     the cache of every row is cut to what its text has of it

Rows accept different numbers of tokens and stand at different places; each ends with its own end-of-text or at its own
largest length. A block is never longer than the room that is left for it, so that the token after it fits. What a row
becomes depends on its prompt and its seed, and on nothing else in its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unmelt.arguments import checked, checked_init
from unmelt.backbone.kv_cache import KVCache
from unmelt.drafting.draft import Draft, Drafter, checked_draft
from unmelt.drafting.streams import Streams
from unmelt.drafting.verification import verify, written_law
from unmelt.drafting.verifier import Verifier
from unmelt.errors import UsageError
from unmelt.guidance.nucleus import check_top_p
from unmelt.guidance.temperature import check_temperature
from unmelt.rng import RowSeeds, Seed


@dataclass(frozen=True)
class DraftState:
    """Rows on their way. A value; all tensors have rows first.

    Args:
        x: Tokens; what stands from `lengths` on is not text.
        lengths: Number of tokens of each row's text.
        limits: Number of tokens at which each row ends.
        ended: Whether a row has reached its end-of-text or its limit.
        cache: The verifier's cache.
        rng: Seed of each row, and the number of steps it has taken.
        drafted: Tokens that were drafted.
        accepted: Drafted tokens that were written.
        hidden: The verifier's hidden states at the tokens, where the drafter reads them.
    """

    x: Int64[Tensor, "rows length"]
    lengths: Int64[Tensor, " rows"]
    limits: Int64[Tensor, " rows"]
    ended: Bool[Tensor, " rows"]
    cache: KVCache
    rng: RowSeeds
    drafted: Int64[Tensor, " rows"]
    accepted: Int64[Tensor, " rows"]
    hidden: Float[Tensor, "rows length features"] | None = None

    def __getitem__(self, rows: Bool[Tensor, " rows"]) -> DraftState:
        """Some of the rows, as a copy."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{name: value[rows] for name, value in own.items() if value is not None})


@final
@checked_init("um.drafting.Speculative")
@dataclass(frozen=True)
class Speculative:
    """Speculative decoding with the law of the verifier.

    Args:
        drafter: Proposes tokens. None: nothing is drafted, which is plain cached decoding.
        block: Tokens that are drafted for a pass.
        temperature: Of the verifier: 1 is its own law, 0 its greedy text.
        top_p: Share of each of its laws that is drawn from, after the temperature.
        end_token: End-of-text token, after which a row ends. None: rows end at their length.

    Raises:
        UsageError: If the block is below 1, or temperature or `top_p` are out of range.
    """

    drafter: Drafter | None = None
    block: int = 8
    temperature: float = 1.0
    top_p: float = 1.0
    end_token: int | None = None

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_top_p(self.top_p)
        if self.block < 1:
            raise UsageError(
                f"Speculative with block={self.block}", "at least 1 token", "Speculative(NGram(), block=8)"
            )

    def init(self, verifier: Verifier, prompts: Sequence[Sequence[int]], tokens: int, seed: Seed = 0) -> DraftState:
        """Begin: rows of which nothing has been read.

        Args:
            verifier: The model whose text is written.
            prompts: Tokens that each row begins with.
            tokens: Tokens to write in each row, fewer where the verifier's length ends it.
            seed: One for all rows, or one for each. None draws a fresh one.

        Returns:
            The state before the first step.

        Raises:
            UsageError: If a prompt is too short or leaves no room, or has a token that is none.
        """
        sizes = [len(each) for each in prompts]
        odd = [size for size in sizes if not verifier.shortest_prompt <= size < verifier.length]
        if not sizes or tokens < 1 or odd:
            given = f"a prompt of {odd[0]} tokens" if odd else f"{len(sizes)} prompts"
            raise UsageError(
                f"{given}, and {tokens} tokens to write, for a model that reads {verifier.length}",
                f"prompts of {verifier.shortest_prompt} to {verifier.length - 1} tokens, and at least 1 to write",
                "prompts=[tokenizer.encode('The sea')], tokens=64",
            )
        wrong = [token for each in prompts for token in each if not 0 <= token < verifier.vocabulary]
        if wrong:
            raise UsageError(
                f"the token {wrong[0]} in a prompt", f"0 to {verifier.vocabulary - 1}", "another tokenizer"
            )
        lengths = torch.tensor(sizes)
        limits = (lengths + tokens).clamp_max(verifier.length)
        length = int(limits.max())
        x = torch.stack(
            [F.pad(torch.tensor(list(each), dtype=torch.int64), (0, length - len(each))) for each in prompts]
        )
        cache, rng = verifier.init_cache(len(x), length), RowSeeds.of(seed, len(x))
        x, lengths, limits = (each.to(cache.kv.device) for each in (x, lengths, limits))
        zero = torch.zeros_like(lengths)
        return DraftState(x, lengths, limits, zero > 0, cache, rng, zero, zero.clone())

    def step(self, verifier: Verifier, state: DraftState) -> DraftState:
        """One block of each row. Rows that have ended stay as they are.

        Args:
            verifier: The model whose text is written.
            state: The rows.

        Returns:
            The state after it, in which each row that had not ended has at least one more token.

        Raises:
            UsageError: If the drafter's law cannot be right.
        """
        if state.ended.any():
            return state if state.ended.all() else _put(state, ~state.ended, self.step(verifier, state[~state.ended]))
        return self.advance(verifier, state, self.propose(verifier, state))

    def propose(self, verifier: Verifier, state: DraftState) -> Draft:
        """Draft a block for each row.

        Args:
            verifier: The model whose text is written.
            state: Rows of which none has ended.

        Returns:
            The block, no longer than the room that is left.

        Raises:
            UsageError: If the drafter's law cannot be right.
        """
        rows = len(state.x)
        if self.drafter is None:
            return Draft.nothing(rows, device=state.x.device)
        rng = Streams.of(state.rng).draft
        draft = self.drafter(state.x, state.lengths, state.hidden, self.block, rng)
        draft = checked_draft(draft, rows, self.block, verifier.vocabulary)
        return draft.at_most(state.limits - state.lengths - 1)

    def advance(self, verifier: Verifier, state: DraftState, draft: Draft) -> DraftState:
        """Verify a block of each row, and write what is accepted and one token more.

        Args:
            verifier: The model whose text is written.
            state: Rows of which none has ended.
            draft: What `propose` returned for them.

        Returns:
            The state after it.
        """
        x, begin, streams = state.x, state.lengths, Streams.of(state.rng)
        rows, k = draft.tokens.shape
        layers = () if self.drafter is None else self.drafter.layers
        seen = verifier.read(_written(x, begin, draft.tokens), begin, k + 1, state.cache, layers)
        p = written_law(seen.logits, self.temperature, self.top_p)
        accept = streams.accept.uniform((rows, self.block), torch.float64, x.device)[:, :k]
        verdict = verify(p, draft, accept, streams.redraw.uniform((rows,), torch.float64, x.device))
        new = F.pad(draft.tokens, (0, 1)).scatter(1, verdict.accepted[:, None], verdict.token[:, None])
        places = torch.arange(k + 1, device=x.device)
        is_new = places <= verdict.accepted[:, None]
        if self.end_token is not None:
            is_end = is_new & (new == self.end_token)
            is_new = is_new & (is_end.long().cumsum(1) - is_end.long() == 0)
            ended = (is_end & is_new).any(1)
        else:
            ended = torch.zeros_like(state.ended)
        count = is_new.sum(1)
        lengths = begin + count
        return DraftState(
            x=_written(x, begin, torch.where(is_new, new, 0)),
            lengths=lengths,
            limits=state.limits,
            ended=ended | (lengths >= state.limits),
            cache=verifier.retain(seen.cache, begin + verdict.accepted + 1),
            rng=state.rng.advance(),
            drafted=state.drafted + draft.counts,
            accepted=state.accepted + torch.minimum(verdict.accepted, count),
            hidden=_with_hidden(state, seen.hidden),
        )


class Decoded(NamedTuple):
    """Text and how it came about.

    Args:
        tokens: The tokens written in each row, without its prompt; the last may be the end-of-text token.
        passes: Network calls of the verifier for each row.
        drafted: Tokens drafted for each row.
        accepted: Drafted tokens that were written in each row.
    """

    tokens: list[list[int]]
    passes: list[int]
    drafted: list[int]
    accepted: list[int]


@checked("um.drafting.decode")
def decode(
    verifier: Verifier,
    prompts: Sequence[Sequence[int]],
    tokens: int = 64,
    *,
    drafter: Drafter | None = None,
    block: int = 8,
    temperature: float = 1.0,
    top_p: float = 1.0,
    end_token: int | None = None,
    seed: Seed = 0,
) -> Decoded:
    """Write text with the law of a verifier.

    Args:
        verifier: The model whose text is written.
        prompts: Tokens that each row begins with.
        tokens: Tokens to write in each row.
        drafter: Proposes tokens. None: plain cached decoding.
        block: Tokens that are drafted for a pass.
        temperature: Of the verifier: 1 is its own law, 0 its greedy text.
        top_p: Share of each of its laws that is drawn from, after the temperature.
        end_token: End-of-text token, after which a row ends. None: rows end at their length.
        seed: One for all rows, or one for each. None draws a fresh one.

    Returns:
        The tokens of each row, and counts.

    Raises:
        UsageError: If prompts do not fit the verifier, a setting is out of range, or a drafter's law cannot be right.
    """
    how = Speculative(drafter=drafter, block=block, temperature=temperature, top_p=top_p, end_token=end_token)
    live = how.init(verifier, prompts, tokens, seed)
    rows = torch.arange(len(prompts))
    counts = [[0] * len(prompts) for _ in range(3)]
    found = Decoded([[] for _ in prompts], *counts)
    while len(rows):
        live = how.step(verifier, live)
        ended = live.ended.cpu()
        if ended.any():
            for row, here in zip(rows[ended].tolist(), ended.nonzero()[:, 0].tolist(), strict=True):
                found.tokens[row] = live.x[here, len(prompts[row]) : int(live.lengths[here])].tolist()
                found.passes[row] = int(live.rng.draws[here])
                found.drafted[row], found.accepted[row] = int(live.drafted[here]), int(live.accepted[here])
            rows, live = rows[~ended], live[~live.ended]
    return found


def _written(x: Int64[Tensor, "rows length"], begin: Int64[Tensor, " rows"], new: Tensor) -> Tensor:
    """x with tokens from `begin` on; what is after the end of a row is dropped."""
    places = begin[:, None] + torch.arange(new.shape[1], device=x.device)
    return F.pad(x, (0, new.shape[1])).scatter(1, places, new)[:, : x.shape[1]]


def _with_hidden(state: DraftState, seen: tuple[Tensor, Tensor] | None) -> Tensor | None:
    """The hidden states of the rows with those that were read now."""
    if seen is None:
        return None
    new, positions = seen
    known = state.hidden
    if known is None:
        known = new.new_zeros(*state.x.shape, new.shape[-1])
    return known.scatter(1, positions[..., None].expand_as(new), new)


def _put(state: DraftState, where: Bool[Tensor, " rows"], part: DraftState) -> DraftState:
    """The state with some of its rows replaced."""

    def merged(old: Tensor, new: Tensor) -> Tensor:
        out = old.clone()
        out[where.to(out.device)] = new
        return out

    own = {name: getattr(state, name) for name in ("x", "lengths", "ended", "drafted", "accepted")}
    changed = {name: merged(value, getattr(part, name)) for name, value in own.items()}
    cache = KVCache(
        **{
            each.name: merged(getattr(state.cache, each.name), getattr(part.cache, each.name))
            for each in fields(KVCache)
        }
    )
    rng = RowSeeds(state.rng.seeds, merged(state.rng.draws, part.rng.draws))
    hidden = None if state.hidden is None or part.hidden is None else merged(state.hidden, part.hidden)
    return replace(state, **changed, cache=cache, rng=rng, hidden=hidden)
