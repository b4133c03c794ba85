"""Predictor and corrector (Song et al., 2021, algorithm 1): after each step, Langevin dynamics at the new level.

    step = 2 (snr sigma_s)^2,      x <- x + step score(x) + sqrt(2 step) noise

The corrector, Langevin dynamics, brings the law of x_s back to what it should be. The paper sets its step by the ratio
of the norms of noise and score, averaged over a batch; here those norms are what they are expected to be, sqrt(d) and
sqrt(d) / sigma, so that a row depends neither on its batch nor, in few dimensions, on its luck.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.process.broadcast import expand_like
from unmelt.rng import RowSeeds
from unmelt.sampler.ancestral import Ancestral
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@checked_init("um.sampler.PredictorCorrector")
@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Any sampler, corrected after each of its steps. `corrector_steps` more network calls a step, none at t = 0.

    Args:
        sampler: The predictor.
        corrector_steps: Moves of Langevin dynamics after each step.
        snr: Signal-to-noise ratio of a move, which sets its size.

    Raises:
        UsageError: If corrector_steps is not a whole number, or snr is not between 0 and 1.
    """

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
                f"PredictorCorrector with corrector_steps={self.corrector_steps!r}, snr={self.snr}",
                "a whole number of corrector steps, and a ratio between 0 and 1",
                "PredictorCorrector(Ancestral(), corrector_steps=1, snr=0.16)",
            )

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return self.sampler.init(denoiser, x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        done = self.sampler.step(denoiser, state, s)
        moves = (s > 0) & (s < state.t)
        rows = moves.flatten(1).any(1) if moves.ndim > 1 else moves
        for _ in range(self.corrector_steps if rows.any() else 0):
            part = done[rows]
            done = done.put(moves, part.moved(self._corrected(denoiser, part), part.t, part.x0, part.rng.advance()))
        return done

    def _corrected(self, denoiser: Denoiser, state: State) -> Tensor:
        x, process = state.x, denoiser.process
        belief = denoiser(x, state.t, state.condition).mean
        alpha, sigma = (expand_like(each, x) for each in process.level(state.t))
        noise = state.rng.normal(x.shape, x.dtype, x.device)
        return x - 2 * self.snr**2 * (x - alpha * belief) + 2 * self.snr * sigma * noise
