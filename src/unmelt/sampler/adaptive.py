"""As many evaluations as each row needs: Bogacki and Shampine's step of order 3, its size chosen row by row.

    error = rms over a row of |w_3 - w_2| / (tolerance (1 + |w|)),      h <- h min(4, max(1/4, 0.9 error^(-1/3)))

in straight coordinates, w_2 being the midpoint rule from the same slopes (Bogacki and Shampine, 1989; Hairer, Norsett
and Wanner, 1993, section II.4). Library solvers share one step among all rows, so that a row depends on its batch; here
each goes its own way and waits at s.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.process.broadcast import expand_like
from unmelt.rng import RowSeeds
from unmelt.sampler.sampler import Sampler, check_row_times
from unmelt.sampler.state import State
from unmelt.sampler.straight_coordinates import Path

MOST_TRIES = 10_000


@final
@checked_init("um.sampler.Adaptive")
@dataclass(frozen=True)
class Adaptive(Sampler):
    """Adaptive Runge-Kutta. Order 3; it chooses its own steps, and the grid only says which states are seen.

    Times are one a row.

    Args:
        tolerance: Largest error of a step, relative to 1 + |w|; errors at the end are 1 to 5 times that.

    Raises:
        UsageError: If the tolerance is not positive, or the times are finer than rows.
    """

    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < math.inf:
            raise UsageError(f"tolerance={self.tolerance}", "a positive number", "Adaptive(tolerance=1e-3)")

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        check_row_times(self, t)
        return State.start(x, t, rng, condition, size=torch.full_like(t, 0.05))

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        path = Path(denoiser, state.condition)
        w, u = path.enter(state.x, state.t)
        end, size, x0 = path.clock(s), state.recall("size"), state.x0
        for _ in range(MOST_TRIES):
            going = u > end
            if not going.any():
                return state.moved(path.leave(w, s), s, x0, size=size)
            part = Path(denoiser, None if state.condition is None else state.condition[going])
            h = torch.minimum(size[going], u[going] - end[going])
            to = torch.where(h < u[going] - end[going], u[going] - h, end[going])
            moved, error, seen = self._try(part, w[going], u[going], to)
            good = error <= 1
            at = going.nonzero()[:, 0]
            w = w.index_copy(0, at, torch.where(expand_like(good.to(u), moved) > 0, moved, w[going]))
            x0 = x0.index_copy(0, at, seen)
            u = u.index_copy(0, at, torch.where(good, to, u[going]))
            grown = h * (0.9 * error.clamp_min(1e-9) ** (-1 / 3)).clamp(0.25, 4)
            size = size.index_copy(
                0, at, torch.where(good & (h < size[going]), torch.maximum(grown, size[going]), grown)
            )
        raise UsageError(
            f"a path that {MOST_TRIES} steps within tolerance={self.tolerance} did not finish",
            "a belief that is finite and smooth, or a looser tolerance",
            "Adaptive(tolerance=1e-3)",
        )

    def _try(self, path: Path, w: Tensor, u: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(w at end, its error over what is tolerated, x0 at u)."""
        h = expand_like(end - u, w)
        k1, x0 = path.slope(w, u)
        k2, _ = path.slope(w + h / 2 * k1, (u + end) / 2)
        k3, _ = path.slope(w + 3 / 4 * h * k2, u + 3 / 4 * (end - u))
        third = w + h * (2 / 9 * k1 + 1 / 3 * k2 + 4 / 9 * k3)
        # their own mate of order 2 takes a slope at the end, which may be u = 0
        second = w + h * k2
        scaled = (third - second) / (self.tolerance * (1 + torch.maximum(w.abs(), third.abs())))
        return third, scaled.double().square().flatten(1).mean(1).sqrt(), x0
