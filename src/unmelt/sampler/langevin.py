"""Annealed Langevin dynamics (Song and Ermon, 2019, algorithm 1): at each noise level, follow the score with noise.

    x <- x + step score(x) + sqrt(2 step) noise,      step = size sigma^2,      score = (alpha x0 - x) / sigma^2

then go to the next level with the same x; from the last level, go to the posterior mean (Jolicoeur-Martineau et al.,
2021), so that no noise is left at t = 0.
"""

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


@final
@checked_init("um.sampler.Langevin")
@dataclass(frozen=True)
class Langevin(Sampler):
    """Annealed Langevin dynamics, exact in law as moves become many and small. `walks` + 1 network calls a step.

    Args:
        walks: Moves at each noise level.
        size: Step size of a move, in units of sigma^2.

    Raises:
        UsageError: If walks < 1 or the size is not between 0 and 2.
    """

    walks: int = 20
    size: float = 0.5

    def __post_init__(self) -> None:
        if self.walks < 1 or not 0 < self.size < 2:
            raise UsageError(
                f"Langevin with walks={self.walks}, size={self.size}",
                "at least one walk, of a size between 0 and 2 (beyond which it diverges)",
                "Langevin(walks=20, size=0.5)",
            )

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return State.start(x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        x, rng = state.x, state.rng
        level = denoiser.process.level(state.t)
        size = self.size * (s < state.t).to(state.t)  # a frame that waits does not move
        alpha, size, kick = (expand_like(each, x) for each in (level.alpha, size, torch.sqrt(2 * size) * level.sigma))
        for _ in range(self.walks):
            x0 = denoiser(x, state.t, state.condition).mean
            x = x + size * (alpha * x0 - x) + kick * rng.normal(x.shape, x.dtype, x.device)
            rng = rng.advance()
        x0 = denoiser(x, state.t, state.condition).mean
        return state.moved(torch.where(expand_like(s, x) > 0, x, x0), s, x0, rng)
