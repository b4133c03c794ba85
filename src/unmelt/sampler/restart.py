"""Restart (Xu et al., 2023): after a step, melt the rows back to where it began and take it again.

    x_s = step(x_t),      x_t ~ q(x | x_s),      x_s = step(x_t),      ...

Fresh noise contracts the errors made so far. The same move, with some of the data held to known values at every step,
is RePaint's resampling (Lugmayr et al., 2022), by which what is painted in comes to agree with what is known.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds
from unmelt.sampler.euler import Euler
from unmelt.sampler.sampler import Sampler, check_row_times
from unmelt.sampler.state import State


@final
@checked_init("um.sampler.Restart")
@dataclass(frozen=True)
class Restart(Sampler):
    """Any sampler, each of its steps within an interval of time taken again `times` times. Times are one a row.

    Args:
        sampler: The sampler that takes the steps.
        times: Number of restarts of each step.
        interval: (low, high), times: a step from t to s restarts where low <= s and t <= high.

    Raises:
        UsageError: If `times` is not a whole number, not 0 <= low < high <= 1, or the times are finer than rows.
    """

    sampler: Sampler = Euler()
    times: int = 1
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.interval
        if (
            isinstance(self.times, bool)
            or not isinstance(self.times, int)
            or self.times < 0
            or not 0 <= low < high <= 1
        ):
            raise UsageError(
                f"Restart with times={self.times!r}, interval={self.interval}",
                "a whole number of times, and two times with 0 <= low < high <= 1",
                "Restart(DPMpp(), times=2, interval=(0.1, 0.6))",
            )

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        check_row_times(self, t)
        return self.sampler.init(denoiser, x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        low, high = self.interval
        again = (s >= low) & (state.t <= high) & (s > 0)
        done = self.sampler.step(denoiser, state, s)
        for _ in range(self.times if again.any() else 0):
            part = done[again]
            x = denoiser.process.renoise(part.x, part.t, state.t[again], part.rng)
            back = part.moved(x, state.t[again], part.x0, part.rng.advance())
            done = done.put(again, self.sampler.step(denoiser, back, s[again]))
        return done
