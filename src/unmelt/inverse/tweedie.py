"""The posterior covariance of x0 given x_t, from the derivative of the denoiser's mean.

    Cov[x0 | x_t] = sigma^2 / alpha  d E[x0 | x_t] / d x_t

(Tweedie's formula of second order: Efron, 2011; for denoisers: Meng et al., 2021.) The derivative decreases as
alpha / sigma^2 does, so that at high noise a small error of a network in it is a large error in the covariance, and
with no signal left the formula is 0 / 0. But there the covariance is almost constant: beyond a noise-to-signal ratio
it changes by a share of only Cov / ratio^2. Beyond the ratio `covariance_sigma_max` the covariance at that ratio is
used, for the same noise.
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
"""v -> Cov[x0 | x_t] v, for rows of data."""


def tweedie(
    denoiser: Denoiser,
    x_t: Float[Tensor, "rows *shape"],
    t: Float[Tensor, " rows"],
    condition: Condition | None,
    covariance_sigma_max: float,
) -> tuple[Float[Tensor, "rows *shape"], Covary]:
    """E[x0 | x_t], and products with Cov[x0 | x_t] at one backward pass each.

    Args:
        denoiser: A denoiser of a Gaussian process.
        x_t: [rows, *shape], the noisy data.
        t: [rows], the times.
        condition: What is known of each row; None for nothing.
        covariance_sigma_max: Noise-to-signal ratio beyond which the covariance of this ratio is used.

    Returns:
        (mean [rows, *shape], v -> Cov[x0 | x_t] v).

    Raises:
        UsageError: If derivatives are disabled by `torch.inference_mode()`.
    """
    if torch.is_inference_mode_enabled():
        raise UsageError(
            "torch.inference_mode(), in which nothing can be differentiated",
            "derivatives of the denoiser",
            "torch.no_grad()",
        )
    process = denoiser.process
    end = process.schedule.log_snr(t.new_ones(()))
    near = torch.minimum(t, process.schedule.time(end.clamp_min(-2 * math.log(covariance_sigma_max))))
    alpha, sigma = process.level(near)
    beyond = t > near
    x_near = x_t * expand_like(torch.where(beyond, sigma / process.level(t).sigma, 1.0), x_t)
    # torch.func.vjp differentiates even where gradients are off.
    mean, vector_jacobian = torch.func.vjp(lambda x: denoiser(x, near, condition).mean, x_near)[:2]
    if beyond.any():
        mean = torch.where(expand_like(t - near, x_t) > 0, denoiser(x_t, t, condition).mean, mean)
    return mean, lambda v: expand_like(sigma**2 / alpha, v) * vector_jacobian(v)[0]
