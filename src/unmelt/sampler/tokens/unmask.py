"""Filling in masks in an order of one's own: which places first, and how many in a pass.

    x0 ~ belief at every mask;      written: the first few by `order`, as many as `pace` says;      the others wait

With one token a pass in random order this is the exact law of the any-order model. Orders that look at the belief
(confidence, margin, entropy) leave that law, mostly for the better (Kim et al., 2025); writing many at once leaves it
for the worse, by what the tokens would have told one another. Tokens tell their neighbours most, so that those of one
pass may be kept apart from one another: with a row's length between them it is one token a pass again.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.posterior import Categorical
from unmelt.rng import Rows
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.sampler.tokens.masks import check_masks
from unmelt.sampler.tokens.order import Confidence, Order
from unmelt.sampler.tokens.pace import Pace, Scheduled


@final
@dataclass(frozen=True)
class Unmask(Sampler):
    """Unmask until at most the masks scheduled for time s remain. A step takes zero or more network calls.

    Args:
        order: Which masked tokens are written first.
        pace: How many are written in one network call.
        block: Tokens per block; a block is finished before the next is begun. 1 decodes left to right. None: no blocks.
        cache: Keep keys and values of finished blocks. Blocks are then the denoiser's own, which must be cached.
        end: End-of-text token: once written, the rest of the row becomes this token. None: no such token.
        min_distance: Smallest distance between tokens written in one network call. Of closer ones the first in order is
            written and the others wait.
    """

    order: Order = Confidence()
    pace: Pace = Scheduled()
    block: int | None = None
    cache: bool = False
    end: int | None = None
    min_distance: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.min_distance, bool) or self.min_distance < 1:
            raise UsageError(
                f"Unmask with min_distance={self.min_distance!r}",
                "at least 1 place, which is the next one",
                "min_distance=6",
            )
        if self.block is not None and (isinstance(self.block, bool) or self.block < 1 or self.cache):
            raise UsageError(
                f"Unmask with block={self.block!r}, cache={self.cache}",
                "places of at least 1, or the blocks of a denoiser with a cache",
                "Unmask(block=32), or Unmask(cache=True)",
            )

    def init(self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: Rows, condition: Condition | None = None) -> State:
        return State.start(x, t, rng, condition, total=torch.full_like(t, torch.nan))

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process = check_masks(denoiser)
        state = self._counted(process, state)
        # Of those masked at first, as many may stay as would still be masked at s; the rounding forgives float64's.
        allowed = (state.recall("total") * (1 - process.schedule.alpha(s)) + 1e-9).floor()
        while True:
            due = process.masked(state.x).flatten(1).sum(1) - allowed.long()
            late = due > 0
            if not late.any():
                return state.moved(state.x, s, state.x0)
            one_pass = self._reading_on if self.cache else self._reading_all
            state = one_pass(denoiser, process, state, late, due)

    def _counted(self, process: Any, state: State) -> State:
        """How many masks there would have been at t = 1, from those there are."""
        total = state.recall("total")
        if not total.isnan().any():
            return state
        masks = process.masked(state.x).flatten(1).sum(1)
        melted = 1 - process.schedule.alpha(state.t)
        total = torch.where(total.isnan(), masks / melted.clamp_min(1e-12), total)
        return state.moved(state.x, state.t, state.x0, total=total)

    def _reading_all(self, denoiser: Denoiser, process: Any, state: State, late: Tensor, due: Tensor) -> State:
        part = state[late]
        belief = denoiser(part.x, self._now(process, part), part.condition)
        return state.put(late, self._written(process, part, belief, due[late], 0))

    def _reading_on(self, denoiser: Any, process: Any, state: State, late: Tensor, due: Tensor) -> State:
        """A pass over the open block of each row, rows that stand at the same one together."""
        if not hasattr(denoiser, "decode_step"):
            raise UsageError(
                f"a cache for a {type(denoiser).__name__}",
                "a denoiser that can go on from what it has read",
                "Autoregressive, Blockwise or ApproximateBlockCache; or Unmask(cache=False)",
            )
        if "kept" not in state.memory:
            nothing = torch.full((len(state),), -1, device=state.x.device)
            kept = torch.zeros(len(state), 0, device=state.x.device)
            state = state.moved(state.x, state.t, state.x0, kept=kept, read=nothing, at=nothing)
        first = process.masked(state.x).int().argmax(1) // denoiser.block * denoiser.block
        alike = torch.stack([first, state.memory["read"], state.memory["at"]], 1)
        for group in alike[late].unique(dim=0):
            rows = late & (alike == group).all(1)
            state = self._from_kept(denoiser, process, state, rows, due, *group.tolist())
        return state

    def _from_kept(
        self, denoiser: Any, process: Any, state: State, rows: Tensor, due: Tensor, first: int, read: int, at: int
    ) -> State:
        """These rows, which have `read` places kept since the block at `at`, a pass on in the block at `first`."""
        part, length = state if rows.all() else state[rows], state.x.shape[1]
        lasts = read >= 0 and (at == first or denoiser.exact)
        before = part.memory["kept"][..., :read, :] if lasts else None
        belief, kept = denoiser.decode_step(part.x, first, before, part.condition)
        part = self._written(process, part, belief, due[rows], first)
        now, whole = torch.full_like(part.memory["read"], kept.shape[4]), (0, 0, 0, length - kept.shape[4])
        kept = F.pad(kept, whole)
        part = part.moved(part.x, part.t, part.x0, kept=kept, read=now, at=torch.full_like(now, first))
        if rows.all():
            return part
        if state.memory["kept"].ndim == 2:
            room = kept.new_zeros(len(state), *kept.shape[1:])
            state = state.moved(state.x, state.t, state.x0, kept=room)
        return state.put(rows, part)

    def _written(self, process: Any, state: State, belief: Categorical, due: Tensor, first: int) -> State:
        """The rows with some more of their masks written, of those places that the belief is about."""
        u = state.rng.uniform((*state.x.shape, 2), torch.float64, state.x.device).flatten(1, -2)
        logits = belief.logits.flatten(1, -2)
        law = logits.softmax(-1)  # to choose by; what is written is drawn in float64
        last = first + law.shape[1]
        x, u = state.x.flatten(1), u[:, first:last]
        masked = process.masked(x[:, first:last])
        rank = torch.where(masked & self._open(masked), self.order.rank(law, u[..., 0]), -math.inf)
        order = rank.argsort(stable=True, dim=1, descending=True)
        if self.min_distance > 1:
            rank = torch.where(self._first_around(order), rank, -math.inf)
            order = rank.argsort(stable=True, dim=1, descending=True)
        chosen = self.pace.chosen(law.gather(1, order[..., None].expand_as(law)), due)
        written = torch.zeros_like(masked).scatter(1, order, chosen) & (rank > -math.inf)
        new = Categorical(logits).write(x[:, first:last], written, u[..., 1])
        best = belief.best.flatten(1)
        x, x0 = (
            torch.cat([whole[:, :first], part, whole[:, last:]], 1).view_as(state.x)
            for whole, part in ((x, new), (state.x0.flatten(1), best))
        )
        return state.moved(self._ended(process, x), state.t, x0, state.rng.advance())

    def _first_around(self, order: Int64[Tensor, "rows places"]) -> Bool[Tensor, "rows places"]:
        """True in places that come before all that stand too near."""
        turn = torch.zeros_like(order).scatter(1, order, torch.arange(order.shape[1], 0, -1).to(order).expand_as(order))
        turn, near = turn.double(), self.min_distance - 1
        return turn == F.max_pool1d(turn, 2 * near + 1, stride=1, padding=near)

    def _ended(self, process: Any, x: Tensor) -> Tensor:
        """Nothing more to write after an end that everything before it leads up to."""
        if self.end is None:
            return x
        led_up = (~process.masked(x)).cummin(1).values
        after = ((x == self.end) & led_up).cummax(1).values
        return torch.where(after, self.end, x)

    def _now(self, process: Any, state: State) -> Tensor:
        """The time at which there would be as many masks as there are: what is known counts as written."""
        masked = process.masked(state.x).flatten(1)
        return process.schedule.time(1 - masked.double().mean(1).to(state.t))

    def _open(self, masked: Tensor) -> Tensor:
        """Places of the first block that is not finished."""
        if self.block is None:
            return torch.ones_like(masked)
        block = torch.arange(masked.shape[1], device=masked.device) // self.block
        first = torch.where(masked, block, masked.shape[1]).amin(1, keepdim=True)
        return block == first
