"""The variational bound: an upper bound on -log p(x0) of the reverse diffusion, from denoising errors alone.

With SNR = alpha^2 / sigma^2, gamma = log SNR, r = sigma / alpha at the start and D the belief about x0,

    -log p(x0) <= KL(q(x_1 | x0) | p(x_1))            prior:           SNR(1) |x0|^2 / 2
                + 1/2 E int SNR |x0 - D|^2 dgamma     diffusion:       over log SNR from that of t = 1 to -2 log r
                + E[-log N(x0; D(x_r), r^2)]          reconstruction:  x0 given x_t at the start

(Kingma et al., 2021, equations 11 to 17.) The schedule enters only through the range of gamma. p is the law of the
stochastic sampler with infinitely many steps. For a belief that is not an exact posterior it differs from the law of
the flow. For an exact posterior both sides are equal for every x0, except for the mismatch at t = 1 that flow.py
describes and a term of order r^4.

Variance reduction. gamma is drawn with density proportional to k = SNR / (1 + SNR), the shape of the integrand for data
of unit variance, so that the average is over (mass / 2) (1 + SNR) |x0 - D|^2 with

    mass = int k dgamma = softplus(gamma_high) - softplus(gamma_low),      finite down to gamma_low = -inf

At low noise x0 - D is almost the noise itself, so |noise|^2 - dim, whose mean is 0, is subtracted with the factor k (a
control variate). Draws are stratified, two in each stratum, so that their differences estimate the variance.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.likelihood.estimate import SIGMA_MIN, Estimate, check_data, check_sigma_min
from unmelt.process.gaussian import Gaussian
from unmelt.rng import RowSeeds


def bound(
    denoiser: Any,
    x0: Float[Tensor, "rows *shape"],
    rng: RowSeeds,
    condition: Condition | None = None,
    *,
    strata: int = 32,
    sigma_min: float = SIGMA_MIN,
) -> Estimate:
    """Estimate an upper bound on -log p(x0), in 2 strata + 2 evaluations of the denoiser.

    Args:
        denoiser: A denoiser of a Gaussian process.
        x0: [rows, *shape], the data in model space.
        rng: A seed for each row; a row's estimate is the same in any batch.
        condition: What is known of each row; None for nothing.
        strata: Slices of log SNR of equal mass. The standard error falls at least as fast as about strata^(-1/2).
        sigma_min: sigma / alpha of the reconstruction term; the diffusion term covers all noise above it.

    Returns:
        The bound in nats and its standard error, a number for each row.

    Raises:
        UsageError: If the data have no density under this denoiser, `sigma_min` is not a noise level of its process, or
            `strata` is not a whole number of at least 1.
    """
    check_data(denoiser, x0, condition)
    process: Gaussian = denoiser.process
    check_sigma_min(process, sigma_min)
    if isinstance(strata, bool) or not isinstance(strata, int) or strata < 1:
        raise UsageError(f"{strata!r} strata", "a whole number, at least 1", "strata=32")
    rows, dim, data = len(x0), x0[0].numel(), x0.double()
    low = process.schedule.log_snr(torch.ones(rows, dtype=torch.float64, device=x0.device))
    high = torch.full_like(low, -2 * math.log(sigma_min))
    mass = F.softplus(high) - F.softplus(low)

    def errors(gamma: Tensor) -> tuple[Tensor, Tensor]:
        """|x0 - D|^2 and |noise|^2 - dim, for one draw at this log SNR."""
        nonlocal rng
        t = process.schedule.time(gamma).clamp_max(1)
        rng = rng.advance()
        x_t, noise = process.corrupt(x0, t, rng)
        residual = data - denoiser(x_t, t, condition).mean.double()
        return residual.square().flatten(1).sum(1), noise.double().square().flatten(1).sum(1) - dim

    def diffusion(stratum: int) -> Tensor:
        nonlocal rng
        rng = rng.advance()
        u = (stratum + rng.uniform((rows,), torch.float64, x0.device)) / strata
        gamma = _inverse_softplus(F.softplus(low) + u * mass)
        error, excess = errors(gamma)
        return mass / 2 * ((1 + gamma.exp()) * error - torch.sigmoid(gamma) * excess)

    def reconstruction() -> Tensor:
        error, excess = errors(high)
        return (error / sigma_min**2 - excess + dim * math.log(2 * math.pi * sigma_min**2)) / 2

    pairs = [torch.stack([diffusion(i), diffusion(i)]) / strata for i in range(strata)]
    pairs.append(torch.stack([reconstruction(), reconstruction()]))
    first, second = torch.stack(pairs, 1)
    prior = low.exp() * data.square().flatten(1).sum(1) / 2
    error = (first - second).detach().square().sum(0).sqrt() / 2
    return Estimate(prior + ((first + second) / 2).sum(0), error)


def _inverse_softplus(mass: Tensor) -> Tensor:
    """The log SNR up to which k has this mass."""
    return mass + torch.log(-torch.expm1(-mass))
