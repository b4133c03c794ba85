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
from unmelt.process.broadcast import expand_like


class Path(NamedTuple):
    """The probability-flow ODE of a denoiser in straight coordinates.

    Args:
        denoiser: The denoiser.
        condition: What is known of each row.
    """

    denoiser: Denoiser
    condition: Condition | None

    def clock(self, t: Float[Tensor, "rows *axes"]) -> Float[Tensor, "rows *axes"]:
        """u at times t.

        Args:
            t: [rows, *axes], times.

        Returns:
            u, of the shape of t.
        """
        alpha, sigma = self.denoiser.process.level(t)
        return sigma / (alpha + sigma)

    def time(self, u: Float[Tensor, "rows *axes"]) -> Float[Tensor, "rows *axes"]:
        """The times at which u is reached.

        Args:
            u: [rows, *axes], from 0 to its value at t = 1.

        Returns:
            t, of the shape of u.
        """
        return self.denoiser.process.schedule.time(2 * torch.log((1 - u) / u)).clamp(0, 1)  # 1 + 2e-16 is no time

    def enter(
        self, x: Float[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"]
    ) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, "rows *axes"]]:
        """Straight coordinates of data.

        Args:
            x: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times.

        Returns:
            (w, u), of the shapes of x and t.
        """
        return self.denoiser.process.straight_coordinates(x, t)

    def leave(self, w: Float[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"]) -> Float[Tensor, "rows *shape"]:
        """Data from straight coordinates.

        Args:
            w: [rows, *axes, *rest], straight coordinates.
            t: [rows, *axes], times.

        Returns:
            x at t, of the shape of w.
        """
        alpha, sigma = self.denoiser.process.level(t)
        return w * expand_like(alpha + sigma, w)

    def slope(
        self, w: Float[Tensor, "rows *shape"], u: Float[Tensor, "rows *axes"]
    ) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, "rows *shape"]]:
        """dw/du by one network call.

        Args:
            w: [rows, *axes, *rest], straight coordinates.
            u: [rows, *axes], where on the path. At u = 0, where a waiting frame may stand, w - x0 stands for 0 / 0.

        Returns:
            (dw/du, x0), both of the shape of w.
        """
        t = self.time(u)
        x0 = self.denoiser(self.leave(w, t), t, self.condition).mean
        return (w - x0) / expand_like(torch.where(u > 0, u, 1.0), w), x0
