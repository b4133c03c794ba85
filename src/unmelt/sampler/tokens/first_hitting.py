"""The first-hitting sampler (Zheng et al., 2025): go straight to the moments at which something is unmasked.

With n masks at time t, the next one falls at the time s at which

    1 - alpha(s) = (1 - alpha(t)) u^(1 / n)

and it is any of the n alike. Exact in law, and never more passes than tokens, however fine the grid: steps in which
nothing happens are never taken.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.rng import Rows
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.sampler.tokens.masks import check_masks


@final
@dataclass(frozen=True)
class FirstHitting(Sampler):
    """One token a pass. The moment of the next is in the state, so that a grid changes nothing about it."""

    def init(self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: Rows, condition: Condition | None = None) -> State:
        return State.start(x, t, rng, condition, next=torch.full_like(t, torch.nan))

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process = check_masks(denoiser)
        while True:
            state = self._planned(process, state)
            now = state.recall("next") >= s
            if not now.any():
                return state.moved(state.x, s, state.x0)
            state = state.put(now, self._hit(denoiser, state[now]))

    def _planned(self, process: object, state: State) -> State:
        """Every row knows when its next token falls; -1 where none is left to."""
        new = state.recall("next").isnan()
        if not new.any():
            return state
        schedule = process.schedule  # type: ignore[attr-defined]
        part = state[new]
        masks = process.masked(part.x).flatten(1).sum(1)  # type: ignore[attr-defined]
        u = part.rng.uniform((len(part), 1), torch.float64)[:, 0].to(part.t.device)
        melted = (1 - schedule.alpha(part.t)) * (1 - u) ** (1 / masks.clamp_min(1))
        at = torch.where(masks > 0, torch.minimum(schedule.time(1 - melted), part.t), -1.0)
        return state.put(new, part.moved(part.x, part.t, part.x0, part.rng.advance(), next=at))

    def _hit(self, denoiser: Denoiser, state: State) -> State:
        at, process = state.recall("next"), denoiser.process
        belief = denoiser(state.x, at, state.condition)
        u = state.rng.uniform((*state.x.shape, 2), torch.float64, state.x.device)
        chance = torch.where(process.masked(state.x), u[..., 0], -1.0).flatten(1)
        chosen = (chance == chance.max(1, keepdim=True).values).view_as(state.x)
        x = belief.write(state.x, chosen & process.masked(state.x), u[..., 1])
        return state.moved(x, at, belief.best, state.rng.advance(), next=torch.full_like(at, torch.nan))
