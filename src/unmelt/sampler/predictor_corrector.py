"""Predictor and corrector (Song et al., 2021, algorithm 1): after each step, a walk by the score at the new level.

    step = 2 (snr sigma_s)^2,      x <- x + step score(x) + sqrt(2 step) noise

The corrector, Langevin dynamics, brings the law of x_s back to what it should be. The paper sets its step by the ratio
of the norms of noise and score, averaged over a batch; here those norms are what they are expected to be, sqrt(d) and
sqrt(d) / sigma, so that a row depends neither on its batch nor, in few dimensions, on its luck.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.process.gaussian import expand_like
from unmelt.rng import Rows
from unmelt.sampler.ancestral import Ancestral
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Any sampler, corrected after each of its steps; `walks` evaluations more a step, none at t = 0."""

    sampler: Sampler = Ancestral()
    corrector_steps: int = 1
    snr: float = 0.16

    def __post_init__(self) -> None:
        if (
            isinstance(self.corrector_steps, bool)
            or not isinstance(self.corrector_steps, int)
            or self.corrector_steps < 0
            or not 0 < self.snr < 1
        ):
            raise UsageError(
                f"PredictorCorrector with walks={self.corrector_steps!r}, snr={self.snr}",
                "a whole number of walks, and a ratio between 0 and 1",
                "PredictorCorrector(Ancestral(), walks=1, snr=0.16)",
            )

    def init(self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: Rows, condition: Condition | None = None) -> State:
        return self.sampler.init(denoiser, x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        done = self.sampler.step(denoiser, state, s)
        walking = s > 0
        for _ in range(self.corrector_steps if walking.any() else 0):
            part = done[walking]
            done = done.put(walking, part.moved(self._walk(denoiser, part), part.t, part.x0, part.rng.advance()))
        return done

    def _walk(self, denoiser: Denoiser, state: State) -> Tensor:
        x, process = state.x, denoiser.process
        belief = denoiser(x, state.t, state.condition).mean
        sigma = expand_like(process.level(state.t).sigma, x)
        noise = state.rng.normal(x.shape, x.dtype, x.device)
        return x - 2 * self.snr**2 * sigma * process.noise(x, belief, state.t) + 2 * self.snr * sigma * noise
