"""The probability-flow ODE as an ordinary ODE, for solvers that know nothing of diffusion: dw/du = noise - x0.

(w, u) = (x, sigma) / (alpha + sigma) are straight coordinates: u runs from 1 at pure noise to 0 at clean data, whatever
the schedule, and the slope is smooth in between.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.process.gaussian import expand_like


class Path(NamedTuple):
    """A denoiser with what is known of each row."""

    denoiser: Denoiser
    condition: Condition | None

    def clock(self, t: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """u at these times."""
        alpha, sigma = self.denoiser.process.level(t)
        return sigma / (alpha + sigma)

    def time(self, u: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """The times of these u."""
        return self.denoiser.process.schedule.time(2 * torch.log((1 - u) / u)).clamp(0, 1)  # 1 + 2e-16 is no time

    def enter(
        self, x: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, " rows"]]:
        """(w, u) of rows at t."""
        return self.denoiser.process.straighten(x, t)

    def leave(self, w: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"]) -> Float[Tensor, "rows *shape"]:
        """The x at t that is w in straight coordinates."""
        alpha, sigma = self.denoiser.process.level(t)
        return w * expand_like(alpha + sigma, w)

    def slope(
        self, w: Float[Tensor, "rows *shape"], u: Float[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, "rows *shape"]]:
        """(dw/du, x0) at u > 0."""
        t = self.time(u)
        x0 = self.denoiser(self.leave(w, t), t, self.condition).mean
        return (w - x0) / expand_like(u, w), x0
