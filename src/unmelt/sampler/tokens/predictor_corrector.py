"""Predictor-corrector sampling: after each step, add a little noise and remove it again, which corrects mistakes.

    x_s = step(x_t);      u = s + size (t - s);      x_u ~ q(x_u | x_s),   x_s ~ the bridge from u to s;   again ...

Each round leaves p_s unchanged up to an error of order size^2, and redraws tokens that were drawn independently in one
step, a few at a time, given the others (Campbell et al., 2022, section 4.4: their corrector, for steps of any size). It
works for uniform noise and for masks.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds
from unmelt.sampler.ancestral import Ancestral
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@checked_init("um.sampler.tokens.PredictorCorrector")
@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """A sampler of tokens with corrector steps after each of its own.

    Args:
        sampler: The predictor, which takes the steps.
        corrector_steps: Corrector steps after each step, one network call each.
        size: How far a corrector step adds noise, as a share of the predictor's step.

    Raises:
        UsageError: If the number of corrector steps is negative or the size is not above 0 and at most 1.
    """

    sampler: Sampler = Ancestral()
    corrector_steps: int = 1
    size: float = 0.25

    def __post_init__(self) -> None:
        if isinstance(self.corrector_steps, bool) or self.corrector_steps < 0 or not 0 < self.size <= 1:
            raise UsageError(
                f"PredictorCorrector with corrector_steps={self.corrector_steps!r}, size={self.size}",
                "0 or more corrector steps, and a share of the step above 0, up to 1",
                "PredictorCorrector(Ancestral(), corrector_steps=1, size=0.25)",
            )

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return self.sampler.init(denoiser, x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        u, process = s + self.size * (state.t - s), denoiser.process
        done = self.sampler.step(denoiser, state, s)
        again = (s > 0) & (self.corrector_steps > 0)
        if not again.any():
            return done
        part, s, u = done[again], s[again], u[again]
        for _ in range(self.corrector_steps):
            x = process.renoise(part.x, s, u, part.rng)
            belief, rng = denoiser(x, u, part.condition), part.rng.advance()
            part = part.moved(process.bridge(x, belief, u, s, rng), s, belief.best, rng.advance())
        return done.put(again, part)
