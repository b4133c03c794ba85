"""DPM-Solver++ (Lu et al., 2022b, algorithm 2): carry a belief extrapolated from the last two.

With lambda = log(alpha / sigma), h = lambda_s - lambda_t and h' = lambda_t - lambda_before,

    D = x0_t + h / (2 h') (x0_t - x0_before),      x_s = carry(x_t, D)

Where there is no last belief, or the step spans an infinite range of lambda (from pure noise, to clean data), D = x0_t.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.process.gaussian import spread
from unmelt.remember import remembered
from unmelt.rng import Rows
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import Schedule


@final
@dataclass(frozen=True)
class DPMpp(Sampler):
    """Order 1 or 2 (multistep); one evaluation a step."""

    order: int = 2

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise UsageError(f"DPMpp of order {self.order!r}", "order 1 or 2", "DPMpp(order=2)")

    def init(self, x: Tensor, t: Tensor, rng: Rows, condition: Condition | None = None) -> State:
        if self.order == 1:
            return State.start(x, t, rng, condition)
        return State.start(x, t, rng, condition, before=t)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process = denoiser.process
        x0 = denoiser(state.x, state.t, state.condition).mean
        if self.order == 1:
            return state.moved(process.carry(state.x, x0, state.t, s), s, x0)
        weight = _weight(process.schedule, state.memory["before"], state.t, s, x0.dtype, x0.ndim)
        extrapolated = torch.addcmul(x0, weight, x0 - state.x0)
        return state.moved(process.carry(state.x, extrapolated, state.t, s), s, x0, before=state.t)


@remembered
def _weight(schedule: Schedule, before: Tensor, t: Tensor, s: Tensor, dtype: torch.dtype, ndim: int) -> Tensor:
    """h / (2 h'); 0 where there is no last belief, or the step is infinite."""
    last, now, then = schedule.log_snr(before), schedule.log_snr(t), schedule.log_snr(s)
    known = (t < before) & torch.isfinite(last) & torch.isfinite(then)
    weight = 0.5 * torch.where(known, then - now, 0.0) / torch.where(known, now - last, 1.0)
    return spread(weight, dtype, ndim)
