"""Remasking (ReMDM; Wang et al., 2025): written tokens may become masks again, so that mistakes can be corrected.

    a token   becomes a mask    with probability  sigma
    a mask    becomes a token   with probability  (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t)

with sigma = min(strength (t - s), (1 - alpha_s) / alpha_t), beyond which the marginals would differ from the process's.
The strength is a rate: how often a token is remasked, on average, from t = 1 to 0. With more steps fewer tokens are
remasked at once, and the law converges to the exact one; with a share per step that does not shrink with the step it
would not. Strength 0 is ancestral sampling.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.process.broadcast import expand_like
from unmelt.rng import RowSeeds
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.sampler.tokens.masks import check_masks


@final
@checked_init("um.sampler.tokens.Remask")
@dataclass(frozen=True)
class Remask(Sampler):
    """Ancestral sampling that remasks written tokens at a given rate.

    Known tokens are remasked too; wrap the denoiser in `inverse.Infill` so that it is certain of them.

    Args:
        strength: Rate of remasking: how often a token is remasked from t = 1 to 0, on average.

    Raises:
        UsageError: If the strength is negative or not finite.
    """

    strength: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength < math.inf:
            raise UsageError(f"Remask({self.strength})", "a finite rate, at least 0", "Remask(2.0)")

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return State.start(x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process = check_masks(denoiser)
        belief = denoiser(state.x, state.t, state.condition)
        alpha_t, alpha_s = (expand_like(process.schedule.alpha(each), state.x) for each in (state.t, s))
        most = torch.where(alpha_t > 0, (1 - alpha_s) / alpha_t, 1.0)
        sigma = torch.minimum(expand_like(self.strength * (state.t - s), state.x), most.clamp(max=1))
        written = (alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t)
        u = state.rng.uniform((*state.x.shape, 2), torch.float64, state.x.device)
        masked = process.masked(state.x)
        remasked = torch.where(~masked & (u[..., 0] < sigma), process.mask, state.x)
        x = belief.write(remasked, masked & (u[..., 0] < written), u[..., 1], state.t)
        return state.moved(x, s, belief.best, state.rng.advance())
