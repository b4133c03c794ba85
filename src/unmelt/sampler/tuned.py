"""A sampler whose times and coefficients were learned for one model: few steps, each told what it should do.

Step i asks for a belief at a noise level shifted a little from that of x, and carries a mixture of all beliefs so far:

    D_i = belief(x_t, r_t exp(shift_i)),      x_s = carry(x_t, sum_j w_ij D_(i-j)),      sum_j w_ij = 1

with r = sigma / alpha. Every explicit multistep method is of this form up to its order, so that learning (see
`tune.py`) starts from one; and whatever is learned, data that are a single point are sampled exactly.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.process.gaussian import over
from unmelt.rng import Rows
from unmelt.sampler import grid
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import Schedule


@final
@dataclass(frozen=True)
class Tuned(Sampler):
    """Made for its own few times (`Tuned.grid`); one evaluation a step.

    times     the n + 1 times it visits, from 1 to 0
    weights   for each step, those of past beliefs, the newest first; the present belief has the rest
    shifts    for each step, of the logarithm of the noise-to-signal ratio at which belief is asked for
    guidance  scale of the guidance under which it was learned
    """

    times: tuple[float, ...] = (1.0, 0.0)
    weights: tuple[tuple[float, ...], ...] = ((),)
    shifts: tuple[float, ...] = (0.0,)
    guidance: float = 1.0

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.times, self.times[1:], strict=False))
        fitting = len(self.shifts) == len(self.weights) == len(self.times) - 1
        fitting = fitting and all(len(row) <= step for step, row in enumerate(self.weights))
        finite = all(map(math.isfinite, [*self.times, *self.shifts, *(w for row in self.weights for w in row)]))
        if not (falling and fitting and finite and self.times[-1] == 0):
            raise UsageError(
                f"Tuned with {len(self.times)} times and weights for {len(self.weights)} steps",
                "times that fall to 0 and, for step i, one shift and at most i weights",
                "model.tune(steps=5)",
            )

    @property
    def steps(self) -> int:
        return len(self.weights)

    @property
    def grid(self) -> grid.Grid:
        """The grid it was made for."""
        return grid.fixed(self.times)

    @property
    def depth(self) -> int:
        return max(len(row) for row in self.weights)

    def init(self, x: Tensor, t: Tensor, rng: Rows, condition: Condition | None = None) -> State:
        beliefs = {f"x0_{j}": torch.zeros_like(x) for j in range(1, self.depth + 1)}
        return State.start(x, t, rng, condition, known=torch.zeros_like(t), **beliefs)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process, known = denoiser.process, state.recall("known")
        step = (state.t.new_tensor(self.times[1:-1])[:, None] >= state.t - 1e-12).sum(0)  # begins at or before t
        x0 = denoiser(state.x, self._shifted(process.schedule, state.t, step), state.condition).mean
        belief, recent = x0, x0
        beliefs = {}
        for j, weight in enumerate(self._weights(step, known).unbind(1), 1):
            past = state.recall(f"x0_{j}")
            belief = torch.addcmul(belief, over(weight, x0), past - x0)
            beliefs[f"x0_{j}"], recent = recent, past
        x = process.carry(state.x, belief, state.t, s)
        return state.moved(x, s, x0, state.rng, known=known + 1, **beliefs)

    def _shifted(
        self, schedule: Schedule, t: Float[Tensor, " rows"], step: Int64[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """The times at which beliefs are asked for; t itself where it is pure noise."""
        now, noisiest = schedule.log_snr(t), schedule.log_snr(torch.ones_like(t))
        moved = torch.where(torch.isfinite(now), now, 0.0) - 2 * t.new_tensor(self.shifts)[step]
        return torch.where(torch.isfinite(now), schedule.time(torch.maximum(moved, noisiest)), t)

    def _weights(self, step: Int64[Tensor, " rows"], known: Float[Tensor, " rows"]) -> Float[Tensor, "rows depth"]:
        """Of past beliefs; 0 for those that a row does not have."""
        table = known.new_tensor([[*row, *[0.0] * (self.depth - len(row))] for row in self.weights])
        return torch.where(torch.arange(self.depth, device=known.device) < known[:, None], table[step], 0.0)
