"""What a belief leaves open: the covariance of x0, from the derivative of its mean.

    Cov[x0 | x_t] = sigma^2 / alpha  d E[x0 | x_t] / d x_t

(Tweedie's formula, second order: Efron, 2011; for denoisers: Meng et al., 2021.) The derivative falls as alpha /
sigma^2 does, so at high noise a network's small error in it is a large error in the covariance, and with no signal left
the formula is 0 / 0. But there the covariance hardly changes any more: by a share Cov / ratio^2 beyond the
noise-to-signal `ratio`. So from a ratio `far` on it is taken to be what it is there, around the same noise.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.process.gaussian import expand_like

Covary = Callable[[Tensor], Tensor]
"""v -> Cov[x0 | x_t] v, row by row."""


def tweedie(
    denoiser: Denoiser,
    x_t: Float[Tensor, "rows *shape"],
    t: Float[Tensor, " rows"],
    condition: Condition | None,
    far: float,
) -> tuple[Float[Tensor, "rows *shape"], Covary]:
    """E[x0 | x_t], and the product of Cov[x0 | x_t] with anything: one backward pass each."""
    if torch.is_inference_mode_enabled():
        raise UsageError(
            "torch.inference_mode(), which keeps nothing to differentiate",
            "derivatives of the denoiser",
            "torch.no_grad()",
        )
    process = denoiser.process
    end = process.schedule.log_snr(t.new_ones(()))
    near = torch.minimum(t, process.schedule.time(end.clamp_min(-2 * math.log(far))))
    alpha, sigma = process.level(near)
    beyond = t > near
    brought = x_t * expand_like(torch.where(beyond, sigma / process.level(t).sigma, 1.0), x_t)
    mean, pull = torch.func.vjp(lambda x: denoiser(x, near, condition).mean, brought)[
        :2
    ]  # even where gradients are off
    if beyond.any():
        mean = torch.where(expand_like(t - near, x_t) > 0, denoiser(x_t, t, condition).mean, mean)
    return mean, lambda v: expand_like(sigma**2 / alpha, v) * pull(v)[0]
