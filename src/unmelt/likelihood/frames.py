"""The density of frames along any path of their times, by the change of variables.

In straight coordinates (w, u) of each frame f, with D the belief about x0 given all frames at their own times,

    dw_f = (w_f - D_f) d log u_f,       d log p = -sum_f (dim_f - tr dD_f/dw_f) d log u_f

log p is a function of the state, so that every path from data to noise gives the same number: frames melted together,
one after the other from the last to the first, or as a pyramid. Frames that are known stay at u = 0; the result is then
the density of the others given them. Start and end of the integral are those of `likelihood.flow`.

(Chen et al., 2018; Song et al., 2021 (Score SDE), section 4.3, here with a time for each frame.)
"""

import math
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.likelihood.divergence import Divergence, Exact, standard_error
from unmelt.likelihood.estimate import SIGMA_MIN, Estimate, check_data, check_sigma_min
from unmelt.likelihood.runge_kutta import solve
from unmelt.process.gaussian import Gaussian


@torch.no_grad()
def log_likelihood_of_frames(
    denoiser: Any,
    x0: Float[Tensor, "rows frames *rest"],
    path: Float64[Tensor, "knots frames"],
    condition: Condition | None = None,
    *,
    divergence: Divergence = Exact(),
    sigma_min: float = SIGMA_MIN,
    tolerance: float = 1e-5,
) -> Estimate:
    """log p of the frames that are not known, given those that are.

    Args:
        denoiser: A denoiser of a Gaussian process that takes times [rows, frames].
        x0: [rows, frames, *rest], the clean frames.
        path: [knots, frames], times of the frames from noise to data, as a `FrameGrid` gives them on the process's
            schedule. The integral between two knots is as accurate as `tolerance` says, whatever their number. A frame
            that is at 0 throughout is known.
        condition: What is known of each row beside them.
        divergence: How traces are computed.
        sigma_min: sigma / alpha at which frames begin to melt.
        tolerance: Error allowed in one step, in nats per dimension.

    Returns:
        log p in nats and the standard error of the trace estimates, a number for each row.

    Raises:
        UsageError: If the data have no density under this denoiser, or the path is not one from 1 to 0 of these frames.
    """
    check_data(denoiser, x0, condition)
    process: Gaussian = denoiser.process
    check_sigma_min(process, sigma_min)
    moving = path[0] > 0
    complete = path.shape[1:] == x0.shape[1:2] and ((path[0] == 1) | ~moving).all() and (path[-1] == 0).all()
    if not complete or not moving.any() or (path.diff(dim=0) > 0).any():
        raise UsageError(
            f"a path of times of shape {tuple(path.shape)} for x0 of shape {tuple(x0.shape)}",
            "times of each frame from 1 down to 0, or 0 throughout where a frame is known",
            f"FrameGrid(grid, frames={x0.shape[1]})(process.schedule)",
        )
    alpha, sigma = (end.item() for end in process.level(torch.ones(1, dtype=torch.float64)))
    signal = 1 / (1 + sigma_min)
    levels = _log_u(process, path.flip(0), math.log(sigma_min * signal))
    flow = _FrameFlow(denoiser, x0, condition, divergence, moving)

    z, rows = x0.flatten(1).double(), torch.arange(len(x0), device=x0.device)
    scale = torch.where(flow.moves, signal, 1.0)
    belief, traces = flow.believe(levels[0].expand(len(z), -1), scale * z, rows, flow.moves.double())
    begun = scale * (z + torch.where(flow.moves, (z - belief) / 2, 0.0))
    y = torch.cat([begun, (flow.dim - signal * traces) / 2], 1)
    for now, following in pairwise(levels):
        flow.segment(now, following)
        y = solve(flow.slope, flow.size, y, 0.0, 1.0, tolerance)
    w, growth = y[:, : z.shape[1]], y[:, z.shape[1] :]
    x_1 = ((alpha + sigma) * w)[:, flow.moves]
    log_prior = -((x_1 / sigma).square() + math.log(2 * math.pi * sigma**2)).sum(1) / 2
    value = log_prior + growth.mean(1) + flow.dim * math.log((alpha + sigma) * signal)
    return Estimate(value, standard_error(growth))


def _log_u(process: Gaussian, path: Tensor, least: float) -> Tensor:
    """log sigma / (alpha + sigma) at the times of a path, at least the level at which frames begin to melt."""
    alpha, sigma = process.level(path)
    return torch.log(sigma / (alpha + sigma)).clamp_min(least)


class _FrameFlow:
    """The ODE of y = (w, change of log p) along one segment of the path, in which every log u is linear."""

    def __init__(
        self, denoiser: Any, x0: Tensor, condition: Condition | None, divergence: Divergence, moving: Tensor
    ) -> None:
        self.denoiser, self.x0, self.condition, self.divergence = denoiser, x0, condition, divergence
        self.probes, self.moving = divergence.draw(x0), moving
        self.moves = self._along(moving)
        self.dim = int(self.moves.sum())
        self.start = self.rate = torch.zeros(len(moving), dtype=torch.float64)

    def _along(self, of_frames: Tensor) -> Tensor:
        """A value for each number of a row, from one for each frame."""
        return of_frames.repeat_interleave(self.x0[0, 0].numel(), -1)

    def segment(self, start: Tensor, end: Tensor) -> None:
        """Turn to the part of the path between two knots."""
        self.start, self.rate = start, torch.where(self.moving, end - start, 0.0)

    def believe(self, log_u: Tensor, w: Tensor, which: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """D, and the trace of its Jacobian with a weight for each number."""
        process, condition = self.denoiser.process, self.condition
        t = process.schedule.time(2 * (torch.log(-torch.expm1(log_u)) - log_u)).clamp_max(1)
        t = torch.where(self.moving, t, 0.0)
        if condition is not None and len(which) < len(condition):
            condition = condition[which]
        with torch.enable_grad():
            w = w.detach().requires_grad_()
            alpha, sigma = process.level(t)
            x_t = (w * self._along(alpha + sigma)).view(-1, *self.x0.shape[1:]).to(self.x0.dtype)
            belief = self.denoiser(x_t, t, condition).mean.flatten(1)
            weighted = weight.to(belief) * belief
        traces = self.divergence.traces(weighted, w, self.probes[which])
        return belief.detach().double(), traces.double()

    def slope(self, tau: Tensor, y: Tensor, which: Tensor) -> Tensor:
        w, rate = y[:, : self.x0[0].numel()], self._along(self.rate)
        belief, traces = self.believe(self.start + tau[:, None] * self.rate, w, which, rate)
        return torch.cat([rate * (w - belief), rate.sum() - traces], 1)

    def size(self, error: Tensor, tau: Tensor) -> Tensor:
        """The larger of the root mean square error in w, in units of the noise, and that in log p per dimension."""
        numbers = self.x0[0].numel()
        noise = self._along(self.start + tau[:, None] * self.rate).exp()
        in_w = ((error[:, :numbers] / noise)[:, self.moves]).square().mean(1).sqrt()
        return torch.maximum(in_w, error[:, numbers:].abs().amax(1) / self.dim)
