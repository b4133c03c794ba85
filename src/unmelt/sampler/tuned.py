"""A sampler with learned levels and coefficients: few steps, each with its own coefficients.

Let theta = atan(sigma / alpha), the angle in which paths are smooth from pure noise to clean data. Step i evaluates the
belief part of the way ahead, with x rescaled to the level there, and steps with a weighted mean of all beliefs so far:

    D_i = belief(x_t c' / c, theta'),  theta' = theta_t + ahead_i (theta_s - theta_t),  c = sqrt(alpha^2 + sigma^2)
    x_s = ode_step(x_t, sum_j w_ij D_(i-j)),      sum_j w_ij = 1

Every explicit multistep method has this form, so that the fit (see `tune.py`) can start from one. Data that are a
single point are sampled exactly, whatever the coefficients. Levels and coefficients do not depend on the schedule.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.memoize import memoized
from unmelt.process.broadcast import expand, expand_like
from unmelt.rng import RowSeeds
from unmelt.sampler import grid
from unmelt.sampler.sampler import Sampler, check_row_times
from unmelt.sampler.state import State
from unmelt.schedule import Schedule

SOONEST = 1e-3
"""Smallest angle at which a belief is evaluated, as a share of the present angle."""


@final
@checked_init("um.sampler.Tuned")
@dataclass(frozen=True)
class Tuned(Sampler):
    """Learned sampler for its own few levels (`Tuned.grid`). One network call a step; times are one a row.

    Args:
        levels: The n + 1 levels it visits, from 1 to 0, as `grid.relative_levels` has them.
        weights: For each step, weights of past beliefs, the newest first; the present belief has the rest.
        ahead: For each step from t to s, where the denoiser is called: 0 at t, 1 at s, on x rescaled
            to the level there.
        guidance: Scale of the guidance under which it was learned.

    Raises:
        UsageError: If levels do not fall from 1 to 0, a step has no entry or too many weights, a number is not finite,
            or the times are finer than rows.
    """

    levels: tuple[float, ...] = (1.0, 0.0)
    weights: tuple[tuple[float, ...], ...] = ((),)
    ahead: tuple[float, ...] = (0.0,)
    guidance: float = 1.0

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.levels, self.levels[1:], strict=False))
        fitting = len(self.ahead) == len(self.weights) == len(self.levels) - 1
        fitting = fitting and all(len(row) <= step for step, row in enumerate(self.weights))
        finite = all(map(math.isfinite, [*self.levels, *self.ahead, *(w for row in self.weights for w in row)]))
        if not (falling and fitting and finite and self.levels[0] == 1 and self.levels[-1] == 0):
            raise UsageError(
                f"Tuned with {len(self.levels)} levels and weights for {len(self.weights)} steps",
                "levels that fall from 1 to 0 and, for step i, one share ahead and at most i weights",
                "model.tune(steps=5)",
            )

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.weights)

    @property
    def grid(self) -> grid.Grid:
        """The grid that it was made for."""
        return grid.relative_levels(self.levels)

    @property
    def depth(self) -> int:
        """Number of past beliefs that it remembers."""
        return max(len(row) for row in self.weights)

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        check_row_times(self, t)
        beliefs = {f"x0_{j}": torch.zeros_like(x) for j in range(1, self.depth + 1)}
        return State.start(x, t, rng, condition, known=torch.zeros_like(t), **beliefs)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process, x, known = denoiser.process, state.x, state.recall("known")
        soon, turn, *weights = _numbers(self, process.schedule, x.dtype, x.ndim, state.t, s)
        x0 = denoiser(turn * x, soon, state.condition).mean
        belief, recent, beliefs = x0, x0, {}
        for j, weight in enumerate(weights, 1):
            past = state.recall(f"x0_{j}")
            belief = torch.addcmul(belief, weight * expand_like((known >= j).to(known.dtype), x), past - x0)
            beliefs[f"x0_{j}"], recent = recent, past
        return state.moved(process.ode_step(x, belief, state.t, s), s, x0, state.rng, known=known + 1, **beliefs)

    def step_index(self, schedule: Schedule, t: Float[Tensor, " rows"]) -> Int64[Tensor, " rows"]:
        """The step that begins at a row's level, or the last to begin before it.

        Args:
            schedule: The schedule of the denoiser.
            t: [rows], times.

        Returns:
            [rows], step numbers from 0.
        """
        scale, one = grid.Balanced(), torch.ones((), dtype=torch.float64, device=t.device)
        level = scale.share(schedule, t.double()) / scale.share(schedule, one)
        return (level.new_tensor(self.levels[1:-1])[:, None] >= level - 1e-9).sum(0)


@memoized
def _numbers(
    of: Tuned, schedule: Schedule, dtype: torch.dtype, ndim: int, t: Float[Tensor, " rows"], s: Float[Tensor, " rows"]
) -> tuple[Tensor, ...]:
    """(the time at which the belief is evaluated, the factor that rescales x to it, the weight of each past belief)."""
    step = of.step_index(schedule, t)
    ahead: Float64[Tensor, " rows"] = t.new_tensor(of.ahead, dtype=torch.float64)[step]

    def angle(time: Tensor) -> Tensor:
        return torch.atan2(schedule.sigma(time), schedule.alpha(time))

    now, most = angle(t), angle(torch.ones_like(t))
    then = torch.minimum(torch.maximum(now + ahead * (angle(s) - now), SOONEST * now), most)
    soon = torch.where(ahead == 0, t, schedule.time(-2 * torch.log(torch.tan(then))).to(t.dtype))
    turn = torch.hypot(schedule.alpha(soon), schedule.sigma(soon)) / torch.hypot(schedule.alpha(t), schedule.sigma(t))
    table = t.new_tensor([[*row, *[0.0] * (of.depth - len(row))] for row in of.weights], dtype=torch.float64)
    return soon, expand(turn, dtype, ndim), *(expand(each, dtype, ndim) for each in table[step].unbind(1))
