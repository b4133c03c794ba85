"""The density of the probability-flow ODE, by the change of variables along it.

In straight coordinates (w, u) = (x_t, sigma) / (alpha + sigma), with D the belief about x0,

    dw / d log u = w - D,      d log p / d log u = -(dim - tr dD/dw)
    log p(x0) = log p_1(x_1) + dim log(alpha_1 + sigma_1) + integral of (dim - tr dD/dw) d log u  + the start

(Chen et al., 2018; Song et al., 2021 (Score SDE), section 4.3.) Nothing is divided by a small number at either end,
and the same is integrated on every schedule.

The start. log u begins at a small noise level r = sigma / alpha, yet what is wanted is the density of x0, not that of
x0 + r noise, which differs by r^2 / 2 (laplacian of p) / p. In z = x_t / alpha both dz / d log r = z - D and the
divergence grow like r^2 where the density is smooth, so that the piece below r is half of their values at r:

    z(r) = x0 + (x0 - D) / 2,      (dim - tr dD/dz) / 2

What is left is of order (r / s)^4 for features of size s: at the default r = 0.002, below 1e-4 nats for s > 0.03. Data
that have no density (whole numbers, a curve in the plane) have no log p(x0) either: the answer then depends on `start`.

The end. p_1 is by default the law that sampling starts from, so that this is the log-density of what an exact solver
would sample. On a schedule with alpha(1) > 0 an exact denoiser of data with mean m and variance v was not quite
made for that start: its own law at t = 1 is about N(alpha m, alpha^2 v + sigma^2), and log p(x0) differs by

    log N(x_1; 0, sigma^2) - log p_1(x_1),      to first order -alpha m . x_1 / sigma^2
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.likelihood.divergence import Divergence, Exact, standard_error
from unmelt.likelihood.estimate import START, Estimate, check_data, check_start
from unmelt.likelihood.runge_kutta import solve
from unmelt.process.gaussian import Gaussian

Prior = Callable[[Float64[Tensor, "rows *shape"]], Float64[Tensor, " rows"]]
"""The log-density of x_1, in nats."""


def log_likelihood(
    denoiser: Any,
    x0: Float[Tensor, "rows *shape"],
    condition: Condition | None = None,
    *,
    divergence: Divergence = Exact(),
    prior: Prior | None = None,
    start: float = START,
    tolerance: float = 1e-5,
) -> Estimate:
    """log p(x0) in nats, a number for each row; for any denoiser of a Gaussian process, a guided one too.

    The denoiser is asked in x0's precision, all else is float64. Differentiable, by x0 and by the denoiser's
    parameters, where autograd is on and anything asks for it: use `torch.no_grad()` where it is not needed, since
    the graph of all evaluations is kept otherwise.

    divergence   `Exact()`, or `Hutchinson(rng, probes)` in many dimensions
    prior        log-density of x_1, where it is not the process's own N(0, sigma(1)^2)
    start        sigma / alpha at which the flow begins
    tolerance    error of one step, in nats per dimension; in all a small multiple of it
    """
    check_data(denoiser, x0, condition)
    process: Gaussian = denoiser.process
    check_start(process, start)
    if not 0 < tolerance < 1:
        raise UsageError(f"tolerance={tolerance}", "a small number of nats", "tolerance=1e-5")
    if torch.is_inference_mode_enabled():
        raise UsageError("a divergence within torch.inference_mode()", "autograd", "with torch.no_grad(): ...")
    alpha, sigma = (end.item() for end in process.level(torch.ones(1, dtype=torch.float64)))
    dim, clear = x0[0].numel(), 1 / (1 + start)  # clear is 1 - u, so that w = clear z
    first, last = math.log(start * clear), math.log(sigma / (alpha + sigma))
    flow = _Flow(denoiser, x0, condition, divergence)

    z = x0.flatten(1).double()
    belief, traces = flow.believe(torch.full_like(z[:, 0], first), clear * z, torch.arange(len(z), device=z.device))
    y = torch.cat([clear * (z + (z - belief) / 2), (dim - clear * traces) / 2], 1)
    y = solve(flow.slope, flow.size, y, first, last, tolerance)
    x_1, growth = (alpha + sigma) * y[:, :dim].view_as(x0), y[:, dim:]

    log_prior = _log_normal(x_1, sigma) if prior is None else prior(x_1)
    value = log_prior + growth.mean(1) + dim * math.log((alpha + sigma) * clear)
    return Estimate(value, standard_error(growth.detach()))


class _Flow:
    """The slope of y = (w, what log p grows by) in log u, for any of the rows of x0, and how large an error in y is."""

    def __init__(self, denoiser: Any, x0: Tensor, condition: Condition | None, divergence: Divergence) -> None:
        self.denoiser, self.x0, self.condition, self.divergence = denoiser, x0, condition, divergence
        self.probes, self.dim = divergence.draw(x0), x0[0].numel()
        one = None if condition is None else condition[:1]
        self.traced = denoiser(x0[:1], x0.new_ones(1, dtype=torch.float64), one).mean.requires_grad

    def believe(self, log_u: Tensor, w: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """D and the estimates of tr dD/dw."""
        process, condition = self.denoiser.process, self.condition
        t = process.schedule.time(2 * (torch.log(-torch.expm1(log_u)) - log_u)).clamp_max(1)
        if condition is not None and len(which) < len(condition):
            condition = condition[which]
        twice = sdpa_kernel(SDPBackend.MATH) if self.traced else nullcontext()  # no other has a second derivative
        with torch.enable_grad(), twice:
            w = w if w.requires_grad else w.detach().requires_grad_()
            x_t = (w * sum(process.level(t))[:, None]).view(-1, *self.x0.shape[1:]).to(self.x0.dtype)
            belief = self.denoiser(x_t, t, condition).mean.flatten(1)
        with torch.set_grad_enabled(self.traced):  # of the belief itself, and of its derivative
            traces = self.divergence.traces(belief, w, self.probes[which])
        return (belief if self.traced else belief.detach()).double(), traces

    def slope(self, log_u: Tensor, y: Tensor, which: Tensor) -> Tensor:
        w = y[:, : self.dim]
        belief, traces = self.believe(log_u, w, which)
        return torch.cat([w - belief, self.dim - traces], 1)

    def size(self, error: Tensor, log_u: Tensor) -> Tensor:
        """The larger of the error in w, in units of the noise there is, and of that in log p, for each dimension."""
        in_w = error[:, : self.dim].square().mean(1).sqrt() / log_u.exp()
        return torch.maximum(in_w, error[:, self.dim :].abs().amax(1) / self.dim)


def _log_normal(x: Tensor, sd: float) -> Tensor:
    """log N(x; 0, sd^2) of each row."""
    return -((x / sd).square() + math.log(2 * math.pi * sd**2)).flatten(1).sum(1) / 2
