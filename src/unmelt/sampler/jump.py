"""Sampling with a flow map: jump over each step of the grid, or jump further and add fresh noise.

    x_r = ode_step(x_t, D(x_t, t, r), t, r),      x_s ~ q(x_s | x_r),      r_ratio = sqrt(1 - eta^2) s_ratio

with r_ratio and s_ratio the noise-to-signal ratios sigma / alpha at r and s.

eta = 0 follows the probability-flow ODE (r = s). eta = 1 jumps to the data and melts them again to s (r = 0): multistep
consistency sampling (Song et al., 2023, algorithm 1). Between them it is the gamma-sampling of consistency trajectory
models (Kim et al., 2024, algorithm 3). Every eta has the right marginals if the flow map is exact.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.memoize import memoized
from unmelt.rng import RowSeeds
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import Schedule


@final
@checked_init("um.sampler.Jump")
@dataclass(frozen=True)
class Jump(Sampler):
    """Sampler of a flow map, on any grid. One network call a step; the steps are as exact as the flow map.

    Args:
        eta: Share of fresh noise at the end of each step: 0 is deterministic, 1 is multistep consistency sampling.

    Raises:
        UsageError: If eta is not in [0, 1], or the denoiser has no `jump`.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise UsageError(
                f"Jump with eta={self.eta}", "eta from 0 (no fresh noise) to 1 (jump to the data)", "Jump(eta=0.0)"
            )

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        _flow_map(denoiser)
        return State.start(x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process, flow_map = denoiser.process, _flow_map(denoiser)
        r = s if self.eta == 0 else _arrival(process.schedule, self.eta, state.t, s)
        belief = flow_map.jump(state.x, state.t, r, state.condition).mean
        x = process.ode_step(state.x, belief, state.t, r)
        if self.eta == 0:
            return state.moved(x, s, belief)
        return state.moved(process.renoise(x, r, s, state.rng), s, belief, state.rng.advance())


def _flow_map(denoiser: Any) -> Any:
    """The denoiser, if it can jump."""
    if not callable(getattr(denoiser, "jump", None)):
        raise UsageError(
            f"Jump with a {type(denoiser).__name__}, which cannot jump",
            "a flow map: a denoiser with `jump(x_t, t, s, condition)`",
            "denoiser.FlowMap(...), or a sampler for denoisers such as DPMpp()",
        )
    return denoiser


@memoized
def _arrival(schedule: Schedule, eta: float, t: Tensor, s: Float[Tensor, "rows *axes"]) -> Float[Tensor, "rows *axes"]:
    """r above; t itself for a frame that waits."""
    if eta == 1:
        r = torch.zeros_like(s)
    else:
        r = torch.minimum(schedule.time(schedule.log_snr(s) - math.log1p(-(eta**2))), s)
    return torch.where(s == t, t, r)
