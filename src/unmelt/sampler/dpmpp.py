"""DPM-Solver++ (Lu et al., 2022b), multistep: 2M is algorithm 2, 3M the same polynomial one degree up.

With lambda = log(alpha / sigma), h = lambda_s - lambda_t and h' = lambda_t - lambda_before, 2M takes a step of order 1
with an extrapolated belief,

    D = x0_t + h / (2 h') (x0_t - x0_before)

and 3M integrates the polynomial through three beliefs exactly. eta > 0 adds fresh noise and is their SDE form (2M SDE,
3M SDE). Where there is no last belief, or the step spans an infinite range of lambda (from pure noise, to clean data),
a step is of order 1.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.memoize import memoized
from unmelt.process.broadcast import expand
from unmelt.rng import RowSeeds
from unmelt.sampler import multistep
from unmelt.sampler.ode_coordinates import Coordinates, data
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import Schedule


@final
@checked_init("um.sampler.DPMpp")
@dataclass(frozen=True)
class DPMpp(Sampler):
    """DPM-Solver++ multistep of orders 1 to 3. One network call a step.

    Args:
        order: Order of convergence: 2 is 2M, 3 is 3M.
        eta: Share of fresh noise: 0 is the ODE, 1 the SDE.

    Raises:
        UsageError: If the order is not 1, 2 or 3, or eta is negative.
    """

    order: int = 2
    eta: float = 0.0

    def __post_init__(self) -> None:
        multistep.check_order(self, self.order, 1, 3)
        multistep.check_eta(self, self.eta)

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        if self.order == 2:
            return State.start(x, t, rng, condition, before=t)
        return multistep.start(x, t, rng, condition, slopes=self.order - 1)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        if self.order != 2:
            return multistep.step(data(self.eta), self.order, denoiser, state, s)
        process, coordinates = denoiser.process, data(self.eta)
        x0 = denoiser(state.x, state.t, state.condition).mean
        c_x, c_x0, c_before = _coefficients(
            coordinates, process.schedule, state.recall("before"), state.t, s, x0.dtype, x0.ndim
        )
        x = torch.addcmul(torch.addcmul(c_x * state.x, c_x0, x0), c_before, state.x0)
        x, rng = multistep.refresh(coordinates, process, x, state, s)
        return state.moved(x, s, x0, rng, before=state.t)


@memoized
def _coefficients(
    coordinates: Coordinates, schedule: Schedule, before: Tensor, t: Tensor, s: Tensor, dtype: torch.dtype, ndim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """x_s = c_x x_t + c_x0 x0_t + c_before x0_before; (1, 0, 0) where s = t.

    c_before is 0 where there is no last belief, or the step is infinite.
    """
    last, now, then = schedule.log_snr(before), schedule.log_snr(t), schedule.log_snr(s)
    known = (t < before) & torch.isfinite(last) & torch.isfinite(then)
    weight = 0.5 * torch.where(known, then - now, 0.0) / torch.where(known, now - last, 1.0)
    left = schedule.alpha(t) * schedule.sigma(s) / (schedule.alpha(s) * schedule.sigma(t))
    c_x = torch.where(s == t, 1.0, schedule.sigma(s) / schedule.sigma(t) * left**coordinates.eta**2)
    c_x0 = schedule.alpha(s) - schedule.alpha(t) * c_x
    return expand(c_x, dtype, ndim), expand(c_x0 * (1 + weight), dtype, ndim), expand(-c_x0 * weight, dtype, ndim)
