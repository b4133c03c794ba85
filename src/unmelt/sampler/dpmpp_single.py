"""DPM-Solver++ (Lu et al., 2022b, algorithm 1), single step: 2S looks half way ahead and then takes the whole step.

    x_u = a step of order 1 to the time u half way in log SNR,      x_s = a step of order 1 with the belief at u

The second goes on from x_u, by the belief that gets it where the whole step would have been,

    x0_u + e^(-(1 + eta^2) h / 2) (x0_u - x0_t)

so that with fresh noise (eta > 0, its SDE form) both halves are one path. It remembers nothing, which suits stepping
that is interrupted (churn, restarts). Where log SNR is infinite, from pure noise or to clean data, a step is of order
1.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.memoize import memoized
from unmelt.process.broadcast import expand, expand_like
from unmelt.rng import RowSeeds
from unmelt.sampler import multistep
from unmelt.sampler.ode_coordinates import data
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import Schedule


@final
@checked_init("um.sampler.DPMppSingle")
@dataclass(frozen=True)
class DPMppSingle(Sampler):
    """DPM-Solver++(2S). Order 2, single step; two network calls a step, one if log SNR is infinite for every row.

    Args:
        eta: Share of fresh noise: 0 is the ODE, 1 the SDE.

    Raises:
        UsageError: If eta is negative.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        multistep.check_eta(self, self.eta)

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return State.start(x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process, coordinates = denoiser.process, data(self.eta)
        x0 = denoiser(state.x, state.t, state.condition).mean
        half, share, finite = _half_way(process.schedule, self.eta, state.t, s, x0.dtype, x0.ndim)
        x, rng = multistep.predict(coordinates, process, state, state.x, x0, half, 1)
        belief = x0
        if finite.any():
            at_half = denoiser(x, half, state.condition).mean
            belief = torch.where(expand_like(finite.to(s), x0) > 0, at_half + share * (at_half - x0), x0)
        x, rng = multistep.predict(coordinates, process, state.moved(x, half, x0, rng), x, belief, s, 1)
        return state.moved(x, s, x0, rng)


@memoized
def _half_way(
    schedule: Schedule, eta: float, t: Tensor, s: Tensor, dtype: torch.dtype, ndim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The time half way in log SNR, the share above, and whether there is such a time; half way in time where not."""
    now, then = schedule.log_snr(t), schedule.log_snr(s)
    finite = torch.isfinite(now) & torch.isfinite(then)
    now, then = torch.where(finite, now, 0.0), torch.where(finite, then, 0.0)
    share = torch.exp((1 + eta**2) * (now - then) / 4)
    return torch.where(finite, schedule.time((now + then) / 2), (t + s) / 2), expand(share, dtype, ndim), finite
