"""Unmasking in a chosen order: which masks are written first, and how many in one network call.

    x0 ~ belief at every mask;      written: the first few by `order`, as many as `pace` says;      the others wait

With one token per call in random order this is the exact law of the any-order model. Orders that depend on the belief
(confidence, margin, entropy) leave that law, mostly for the better (Kim et al., 2025). Writing several tokens at once
leaves it for the worse, by their mutual information, since they are drawn independently. That is largest between
neighbours, so tokens of one call can be kept a minimal distance apart; at the length of a row that is one token per
call again.
"""

import math
from dataclasses import dataclass, fields
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.backbone.kv_cache import KVCache
from unmelt.condition import Condition
from unmelt.denoiser.cached import check_cached
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.posterior import Categorical
from unmelt.process import Mask
from unmelt.rng import RowSeeds
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.sampler.tokens.due import ended, masks_at_start, unmask_until
from unmelt.sampler.tokens.masks import check_masks
from unmelt.sampler.tokens.order import Confidence, Order
from unmelt.sampler.tokens.pace import Pace, Scheduled

CACHE = tuple(field.name for field in fields(KVCache))
"""Names of the cache's tensors in a state's memory."""


@final
@checked_init("um.sampler.tokens.Unmask")
@dataclass(frozen=True)
class Unmask(Sampler):
    """Unmask until at most the masks scheduled for time s remain. A step takes zero or more network calls.

    With a cache, a call reads only what has not been read, for all rows together, at whatever blocks they stand.

    Args:
        order: Which masked tokens are written first.
        pace: How many are written in one network call.
        block: Tokens per block; a block is finished before the next is begun. 1 decodes left to right. None: no blocks.
        cache: Decode with the keys and values of what was read before. The denoiser must be a `CachedDenoiser`, and the
            blocks are its own.
        end_token: End-of-text token: once written, the rest of the row becomes this token. None: no such token.
        min_distance: Smallest distance between tokens written in one network call. Of closer ones the first in order is
            written and the others wait.

    Raises:
        UsageError: If the block or the distance is below 1, or a block is given together with a cache.
    """

    keeps_known_tokens: ClassVar[bool] = True

    order: Order = Confidence()
    pace: Pace = Scheduled()
    block: int | None = None
    cache: bool = False
    end_token: int | None = None
    min_distance: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.min_distance, bool) or self.min_distance < 1:
            raise UsageError(
                f"Unmask with min_distance={self.min_distance!r}",
                "at least 1, the distance of neighbours",
                "min_distance=6",
            )
        if self.block is not None and (isinstance(self.block, bool) or self.block < 1 or self.cache):
            raise UsageError(
                f"Unmask with block={self.block!r}, cache={self.cache}",
                "blocks of at least 1 token, or the blocks of a denoiser with a cache",
                "Unmask(block=32), or Unmask(cache=True)",
            )

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        """See `Sampler.init`. A state also remembers how many masks a row would have at t = 1, and the cache.

        Raises:
            UsageError: If the denoiser's process does not mask, or a cache is asked for and it has none.
        """
        process = check_masks(denoiser)
        memory = {"total": masks_at_start(process, x, t)}
        if self.cache:
            memory |= vars(check_cached(denoiser).init_cache(len(x), x.shape[1], x.device))
        return State.start(x, t, rng, condition, **memory)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process = check_masks(denoiser)
        return unmask_until(process, state, s, lambda rows, due: self._network_call(denoiser, process, rows, due))

    def _network_call(self, denoiser: Denoiser, process: Mask, state: State, due: Tensor) -> State:
        """The state after one network call, in which every row has some of its masks written."""
        if not self.cache:
            belief = denoiser(state.x, _time_by_masks(process, state), state.condition)
            return self._written(process, state, belief, due, torch.zeros_like(due))
        cached, cache = check_cached(denoiser), KVCache(**{name: state.recall(name) for name in CACHE})
        block_start = process.masked(state.x).int().argmax(1) // cached.block * cached.block
        belief, cache = cached.decode_step(state.x, block_start, cache, state.condition)
        state = self._written(process, state, belief, due, block_start)
        return state.moved(state.x, state.t, state.x0, **vars(cache))

    def _written(
        self, process: Mask, state: State, belief: Categorical, due: Tensor, first: Int64[Tensor, " rows"]
    ) -> State:
        """The rows with some of their masks written, at the positions from `first` on that the belief is about."""
        u = state.rng.uniform((*state.x.shape, 2), torch.float64, state.x.device).flatten(1, -2)
        law = belief.ranking_probabilities.flatten(1, -2)  # ranks the masks; what is written is drawn in float64
        x, x0, n = state.x.flatten(1), state.x0.flatten(1), law.shape[1]
        masked = _window(process.masked(x), first, n)
        rank_draw, token_draw = (_window(each, first, n) for each in u.unbind(-1))
        candidate, rank = masked & self._open(masked), self.order.rank(law, rank_draw).double()
        rank = rank.clamp_min(torch.finfo(rank.dtype).min)  # any candidate ranks above all that are none
        order = torch.where(candidate, rank, -math.inf).argsort(stable=True, dim=1, descending=True)
        if self.min_distance > 1:
            candidate = candidate & self._first_around(order)
            order = torch.where(candidate, rank, -math.inf).argsort(stable=True, dim=1, descending=True)
        chosen = self.pace.chosen(law.gather(1, order[..., None].expand_as(law)), due)
        chosen = chosen | (torch.arange(n, device=x.device) == 0)  # every call writes, so that there is a last one
        written = torch.zeros_like(masked).scatter(1, order, chosen) & candidate
        shape = belief.logits.shape[:-1]
        before, where, u = (each.view(shape) for each in (_window(x, first, n), written, token_draw))
        new = belief.write(before, where, u, state.t, first).flatten(1)
        x = _with_window(x, first, new).view_as(state.x)
        x0 = _with_window(x0, first, belief.best.flatten(1)).view_as(state.x0)
        return state.moved(ended(process, x, self.end_token), state.t, x0, state.rng.advance())

    def _first_around(self, order: Int64[Tensor, "rows n"]) -> Bool[Tensor, "rows n"]:
        """True at positions that come in order before all that are closer than the smallest distance."""
        turn = torch.zeros_like(order).scatter(1, order, torch.arange(order.shape[1], 0, -1).to(order).expand_as(order))
        turn, near = turn.double(), min(self.min_distance, order.shape[1]) - 1
        return turn == F.max_pool1d(turn, 2 * near + 1, stride=1, padding=near)

    def _open(self, masked: Bool[Tensor, "rows n"]) -> Bool[Tensor, "rows n"]:
        """Positions of the first block that is not finished."""
        if self.block is None:
            return torch.ones_like(masked)
        block = torch.arange(masked.shape[1], device=masked.device) // self.block
        first = torch.where(masked, block, masked.shape[1]).amin(1, keepdim=True)
        return block == first


def _time_by_masks(process: Mask, state: State) -> Tensor:
    """The time at which a row is expected to have as many masks as it has; known tokens count as written."""
    masked = process.masked(state.x).flatten(1)
    return process.schedule.time(1 - masked.double().mean(1).to(state.t))


def _window(x: Tensor, first: Int64[Tensor, " rows"], n: int) -> Tensor:
    """x [rows, length] at the n positions from `first` on; 0 after the end of a row."""
    if n == x.shape[1]:
        return x
    return F.pad(x, (0, n)).gather(1, first[:, None] + torch.arange(n, device=x.device))


def _with_window(x: Tensor, first: Int64[Tensor, " rows"], new: Tensor) -> Tensor:
    """x [rows, length] with its values from `first` on replaced; what is after the end of a row is dropped."""
    if new.shape[1] == x.shape[1]:
        return new
    positions = first[:, None] + torch.arange(new.shape[1], device=x.device)
    return F.pad(x, (0, new.shape[1])).scatter(1, positions, new)[:, : x.shape[1]]
