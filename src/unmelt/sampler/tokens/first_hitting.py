"""The first-hitting sampler (Zheng et al., 2025), which goes straight to the times at which a token is unmasked.

With n masks at time t, the next one is unmasked at the time s at which

    1 - alpha(s) = (1 - alpha(t)) u^(1 / n),      u uniform on [0, 1]

and each of the n is equally likely. It is exact in law and takes one network call per token, however fine the grid:
steps in which nothing happens are never taken.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.process import Mask
from unmelt.rng import RowSeeds
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.sampler.tokens.masks import check_masks


@final
@dataclass(frozen=True)
class FirstHitting(Sampler):
    """First-hitting sampling: one token per network call, exact in law.

    The time of the next token is in the state, so the samples do not depend on the grid.
    """

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return _plan(check_masks(denoiser), State.start(x, t, rng, condition, next_time=t))

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process = check_masks(denoiser)
        while True:
            now = state.recall("next_time") >= s
            if not now.any():
                return state.moved(state.x, s, state.x0)
            state = state.put(now, _plan(process, self._unmask_one(denoiser, state[now])))

    def _unmask_one(self, denoiser: Denoiser, state: State) -> State:
        time, process = state.recall("next_time"), denoiser.process
        belief = denoiser(state.x, time, state.condition)
        u = state.rng.uniform((*state.x.shape, 2), torch.float64, state.x.device)
        masked = process.masked(state.x)
        draw = torch.where(masked, u[..., 0], -1.0).flatten(1)
        chosen = (draw == draw.max(1, keepdim=True).values).view_as(state.x)
        x = belief.write(state.x, chosen & masked, u[..., 1], time)
        return state.moved(x, time, belief.best, state.rng.advance())


def _plan(process: Mask, state: State) -> State:
    """Draw the time at which each row's next token is unmasked; -1 where no mask is left."""
    masks = process.masked(state.x).flatten(1).sum(1)
    u = state.rng.uniform((len(state), 1), torch.float64)[:, 0].to(state.t.device)
    noise_left = (1 - process.schedule.alpha(state.t)) * (1 - u) ** (1 / masks.clamp_min(1))
    time = torch.where(masks > 0, torch.minimum(process.schedule.time(1 - noise_left), state.t), -1.0)
    return state.moved(state.x, state.t, state.x0, state.rng.advance(), next_time=time)
