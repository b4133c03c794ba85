"""Predictor and corrector: after each step, melt a little further and come back, so that mistakes can be mended.

    x_s = step(x_t);      u = s + size (t - s);      x_u ~ q(x_u | x_s),   x_s ~ the bridge from u to s;   again ...

Each round leaves p_s as it is but for an error of order size^2, while what was written in one parallel step is written
anew, a few tokens at a time, in view of the rest (Campbell et al., 2022, section 4.4: their corrector, in steps that
take any size). For noise under which a token can be melted again that is uniform noise and masks alike.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds
from unmelt.sampler.ancestral import Ancestral
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """
    sampler   that takes the steps
    times     how often each is mended, at one evaluation a time
    size      how far it melts for that, as a share of the step
    """

    sampler: Sampler = Ancestral()
    corrector_steps: int = 1
    size: float = 0.25

    def __post_init__(self) -> None:
        if isinstance(self.corrector_steps, bool) or self.corrector_steps < 0 or not 0 < self.size <= 1:
            raise UsageError(
                f"PredictorCorrector with times={self.corrector_steps!r}, size={self.size}",
                "a whole number of times, and a share of the step",
                "PredictorCorrector(Ancestral(), times=1, size=0.25)",
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
