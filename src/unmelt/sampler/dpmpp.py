"""DPM-Solver++ (Lu et al., 2022b), multistep: 2M is algorithm 2, 3M the same polynomial one degree up.

With lambda = log(alpha / sigma), h = lambda_s - lambda_t and h' = lambda_t - lambda_before, 2M carries an extrapolated
belief with an order-1 step,

    D = x0_t + h / (2 h') (x0_t - x0_before)

and 3M integrates the polynomial through three beliefs exactly. eta > 0 adds fresh noise and is their SDE form (2M SDE,
3M SDE). Where there is no last belief, or the step spans an infinite range of lambda (from pure noise, to clean data),
a step is of order 1.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.memoize import memoized
from unmelt.process.gaussian import expand
from unmelt.rng import Rows
from unmelt.sampler import multistep
from unmelt.sampler.coordinates import Coordinates, data
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import Schedule


@final
@dataclass(frozen=True)
class DPMpp(Sampler):
    """Orders 1 to 3 (multistep); one evaluation a step. eta = 0 is the ODE, eta = 1 the SDE."""

    order: int = 2
    eta: float = 0.0

    def __post_init__(self) -> None:
        multistep.check_order(self, self.order, 1, 3)
        multistep.check_eta(self, self.eta)

    def init(self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: Rows, condition: Condition | None = None) -> State:
        if self.order == 2:
            return State.start(x, t, rng, condition, before=t)
        return multistep.start(x, t, rng, condition, slopes=self.order - 1)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        if self.order != 2:
            return multistep.step(data(self.eta), self.order, denoiser, state, s)
        process, coordinates = denoiser.process, data(self.eta)
        x0 = denoiser(state.x, state.t, state.condition).mean
        keep, now, past = _shares(coordinates, process.schedule, state.recall("before"), state.t, s, x0.dtype, x0.ndim)
        x = torch.addcmul(torch.addcmul(keep * state.x, now, x0), past, state.x0)
        x, rng = multistep.refresh(coordinates, process, x, state, s)
        return state.moved(x, s, x0, rng, before=state.t)


@memoized
def _shares(
    coordinates: Coordinates, schedule: Schedule, before: Tensor, t: Tensor, s: Tensor, dtype: torch.dtype, ndim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """x_s = keep x_t + now x0_t + past x0_before; past is 0 where there is no last belief, or the step is infinite."""
    last, at, then = schedule.log_snr(before), schedule.log_snr(t), schedule.log_snr(s)
    known = (t < before) & torch.isfinite(last) & torch.isfinite(then)
    weight = 0.5 * torch.where(known, then - at, 0.0) / torch.where(known, at - last, 1.0)
    left = schedule.alpha(t) * schedule.sigma(s) / (schedule.alpha(s) * schedule.sigma(t))
    keep = schedule.sigma(s) / schedule.sigma(t) * left**coordinates.eta**2
    take = schedule.alpha(s) - schedule.alpha(t) * keep
    return expand(keep, dtype, ndim), expand(take * (1 + weight), dtype, ndim), expand(-take * weight, dtype, ndim)
