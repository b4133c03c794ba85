"""The density of the probability-flow ODE, by the change of variables along it.

In straight coordinates (w, u) = (x_t, sigma) / (alpha + sigma), with D the belief about x0,

    dw / d log u = w - D,      d log p / d log u = -(dim - tr dD/dw)
    log p(x0) = log p_1(x_1) + dim log(alpha_1 + sigma_1) + integral of (dim - tr dD/dw) d log u  + the start

(Chen et al., 2018; Song et al., 2021 (Score SDE), section 4.3.) Nothing is divided by a small number at either end,
and the same is integrated on every schedule.

The start. The integral begins at a small noise level r = sigma / alpha, but the result is to be the density of x0 and
not that of x0 + r noise, which differs by r^2 / 2 (laplacian of p) / p. In z = x_t / alpha both dz / d log r = z - D
and the divergence grow like r^2 where the density is smooth, so that the integral below r is half their values at r:

    z(r) = x0 + (x0 - D) / 2,      (dim - tr dD/dz) / 2

The remaining error is of order (r / s)^4 for features of size s: at the default r = 0.002, below 1e-4 nats for
s > 0.03. Data without a density (whole numbers, a curve in the plane) have no log p(x0); the result depends on
`sigma_min`.

The end. p_1 is by default the law that sampling starts from, so that the result is the log-density of the samples of an
exact solver. On a schedule with alpha(1) > 0 this is not exactly the law of the data of an exact denoiser: for data
with mean m and variance v, the law at t = 1 is about N(alpha m, alpha^2 v + sigma^2), and log p(x0) differs by

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
from unmelt.likelihood.estimate import SIGMA_MIN, Estimate, check_data, check_sigma_min
from unmelt.likelihood.runge_kutta import solve
from unmelt.process.gaussian import Gaussian

Prior = Callable[[Float64[Tensor, "rows *shape"]], Float64[Tensor, " rows"]]
"""x_1 -> log p_1(x_1) of each row, in nats."""


def log_likelihood(
    denoiser: Any,
    x0: Float[Tensor, "rows *shape"],
    condition: Condition | None = None,
    *,
    divergence: Divergence = Exact(),
    prior: Prior | None = None,
    sigma_min: float = SIGMA_MIN,
    tolerance: float = 1e-5,
) -> Estimate:
    """log p(x0) of the probability-flow ODE, for any denoiser of a Gaussian process, guided or not.

    The denoiser is called in x0's precision; everything else is float64. The result is differentiable with respect to
    x0 and the denoiser's parameters where autograd is on and one of them requires gradients. The graph of all
    evaluations is then kept: use `torch.no_grad()` if it is not needed.

    Args:
        denoiser: A denoiser of a Gaussian process.
        x0: [rows, *shape], the data in model space.
        condition: What is known of each row; None for nothing.
        divergence: How the trace of the Jacobian is computed: `Exact()`, or `Hutchinson(rng, probes)` in many
            dimensions.
        prior: Log-density of x_1; None for the process's own prior N(0, sigma(1)^2).
        sigma_min: sigma / alpha at which the flow begins.
        tolerance: Error allowed in one step, in nats per dimension. The total error is a small multiple of it.

    Returns:
        log p(x0) in nats and the standard error of the trace estimates, a number for each row.

    Raises:
        UsageError: If the data have no density under this denoiser, `sigma_min` is not a noise level of its process,
            the tolerance is not between 0 and 1, or derivatives are disabled by `torch.inference_mode()`.
    """
    check_data(denoiser, x0, condition)
    process: Gaussian = denoiser.process
    check_sigma_min(process, sigma_min)
    if not 0 < tolerance < 1:
        raise UsageError(f"tolerance={tolerance}", "a small number of nats", "tolerance=1e-5")
    if torch.is_inference_mode_enabled():
        raise UsageError("a divergence in torch.inference_mode()", "autograd", "with torch.no_grad(): ...")
    alpha, sigma = (end.item() for end in process.level(torch.ones(1, dtype=torch.float64)))
    dim, signal = x0[0].numel(), 1 / (1 + sigma_min)  # 1 - u at the start, so that w = signal z
    log_u_start, log_u_end = math.log(sigma_min * signal), math.log(sigma / (alpha + sigma))
    flow = _Flow(denoiser, x0, condition, divergence)

    z = x0.flatten(1).double()
    every = torch.arange(len(z), device=z.device)
    belief, traces = flow.believe(torch.full_like(z[:, 0], log_u_start), signal * z, every)
    y = torch.cat([signal * (z + (z - belief) / 2), (dim - signal * traces) / 2], 1)
    y = solve(flow.slope, flow.size, y, log_u_start, log_u_end, tolerance)
    x_1, growth = (alpha + sigma) * y[:, :dim].view_as(x0), y[:, dim:]

    log_prior = _log_normal(x_1, sigma) if prior is None else prior(x_1)
    value = log_prior + growth.mean(1) + dim * math.log((alpha + sigma) * signal)
    return Estimate(value, standard_error(growth.detach()))


class _Flow:
    """The ODE of y = (w, change of log p) in log u, for any subset of the rows of x0, and the norm of errors in y."""

    def __init__(self, denoiser: Any, x0: Tensor, condition: Condition | None, divergence: Divergence) -> None:
        self.denoiser, self.x0, self.condition, self.divergence = denoiser, x0, condition, divergence
        self.probes, self.dim = divergence.draw(x0), x0[0].numel()
        one = None if condition is None else condition[:1]
        self.traced = denoiser(x0[:1], x0.new_ones(1, dtype=torch.float64), one).mean.requires_grad

    def believe(self, log_u: Tensor, w: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """D and the estimates of tr dD/dw, for the rows `which`."""
        process, condition = self.denoiser.process, self.condition
        t = process.schedule.time(2 * (torch.log(-torch.expm1(log_u)) - log_u)).clamp_max(1)
        if condition is not None and len(which) < len(condition):
            condition = condition[which]
        attention = sdpa_kernel(SDPBackend.MATH) if self.traced else nullcontext()  # others have no second derivative
        with torch.enable_grad(), attention:
            w = w if w.requires_grad else w.detach().requires_grad_()
            x_t = (w * sum(process.level(t))[:, None]).view(-1, *self.x0.shape[1:]).to(self.x0.dtype)
            belief = self.denoiser(x_t, t, condition).mean.flatten(1)
        with torch.set_grad_enabled(self.traced):  # the derivative of the belief is itself differentiated
            traces = self.divergence.traces(belief, w, self.probes[which])
        return (belief if self.traced else belief.detach()).double(), traces

    def slope(self, log_u: Tensor, y: Tensor, which: Tensor) -> Tensor:
        w = y[:, : self.dim]
        belief, traces = self.believe(log_u, w, which)
        return torch.cat([w - belief, self.dim - traces], 1)

    def size(self, error: Tensor, log_u: Tensor) -> Tensor:
        """The larger of the root mean square error in w, in units of the noise, and that in log p per dimension."""
        in_w = error[:, : self.dim].square().mean(1).sqrt() / log_u.exp()
        return torch.maximum(in_w, error[:, self.dim :].abs().amax(1) / self.dim)


def _log_normal(x: Tensor, sd: float) -> Tensor:
    """log N(x; 0, sd^2) of each row."""
    return -((x / sd).square() + math.log(2 * math.pi * sd**2)).flatten(1).sum(1) / 2
