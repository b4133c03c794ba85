"""Asynchronous leapfrog (Mutze, 2013; Zhuang et al., 2021, MALI): a solver that can be walked back exactly.

In straight coordinates (w, u) the probability-flow ODE is dw/du = (w - x0) / u. Beside w a row carries its own slope v:

    middle = w + v h / 2,    v' = 2 slope(middle) - v,    w' = middle + v' h / 2            h = u_s - u_t

The slope is asked for once, half way, and the formula is the same read from either end: a step from s to t undoes the
step from t to s to the last bit that rounding leaves, for any denoiser, however few the steps. No scheme that keeps x
alone can promise that, as a step to t = 0 is x0 = belief(x_t), which need not have an inverse.

At t = 0 no slope is asked for: the first half way up is above it. A row that starts there starts with v = -x0, the
slope of a smooth density (of an x_t with no noise in it, no noise is believed). A row that has come down carries the v
it arrived with; its x alone, without that v, goes up to a nearby place and comes back down from there exactly.

Sums are done in float64 whatever the network's precision, which then sees the same numbers both ways: what x itself
cannot hold of them is remembered too.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.memoize import memoized
from unmelt.process.broadcast import expand, expand_like
from unmelt.rng import RowSeeds
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import Schedule


@final
@dataclass(frozen=True)
class Leapfrog(Sampler):
    """Asynchronous leapfrog. Order 2; one network call a step, two on the first. A step may also go up, to s > t."""

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        wide = x.double()
        return State.start(x, t, rng, condition, slope=-wide, under_way=t == 0, rest=torch.zeros_like(wide))

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process, t = denoiser.process, state.t
        slope, under_way = state.recall("slope"), state.recall("under_way")
        w, u_t = process.straight_coordinates(state.x.double() + state.recall("rest"), t)
        if not under_way.all():
            x0 = denoiser(state.x, t, state.condition).mean
            slope = torch.where(
                expand_like(under_way.double(), w) > 0, slope, (w - x0) / expand_like(torch.where(u_t > 0, u_t, 1.0), w)
            )
        half_way, half_step, middle_u, middle_size, size = _half_way(process.schedule, t, s, w.ndim)
        middle = w + half_step * slope
        x0 = denoiser((middle_size * middle).to(state.x.dtype), half_way, state.condition).mean
        slope = 2 * (middle - x0) / middle_u - slope
        wide = size * (middle + half_step * slope)
        x = wide.to(state.x.dtype)
        return state.moved(x, s, x0, slope=slope, under_way=torch.ones_like(under_way), rest=wide - x)


@memoized
def _half_way(schedule: Schedule, t: Tensor, s: Tensor, ndim: int) -> tuple[Tensor, ...]:
    """The time half way in u, half the step, u there, and alpha + sigma there and at s."""

    def level(at: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = schedule.alpha(at), schedule.sigma(at)
        return sigma / (alpha + sigma), alpha + sigma

    (u_t, _), (u_s, size) = level(t), level(s)
    u = (u_t + u_s) / 2
    half_way = schedule.time(2 * torch.log((1 - u) / u))
    each = ((u_s - u_t) / 2, torch.where(u > 0, u, 1.0), level(half_way)[1], size)  # u = 0: a frame waits at t = 0
    return half_way, *(expand(value, value.dtype, ndim) for value in each)
