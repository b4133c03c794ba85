"""The exact posterior of a mixture of Gaussians given a linear measurement, which is a mixture of Gaussians.

    p(x0 | y) = sum_k w_k' N(mu_k + K_k (y - A mu_k), (I - K_k A) S_k),      K_k = S_k A' C_k^-1
    w_k'      = w_k N(y; A mu_k, C_k),  normalised,                          C_k = A S_k A' + noise_sd^2 I

(Kalman, 1960, for each component; Bayes' rule for their weights.) As a `Mixture` it is also a denoiser, whose belief is
E[x0 | x_t, y]. Every `Measured` denoiser approximates this belief.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.denoiser.exact import Mixture
from unmelt.errors import UsageError
from unmelt.inverse.operator import Operator


def exact(mixture: Mixture, operator: Operator, y: Float[Tensor, "one *measured"], noise_sd: float) -> Mixture:
    """The posterior of the data of a mixture given y = A x0 + noise_sd noise.

    Args:
        mixture: The prior.
        operator: A, which maps data to measurements.
        y: [1, *measured], the measurement.
        noise_sd: Standard deviation of the measurement's noise. If it is 0, A S_k A' must be invertible.

    Returns:
        The posterior, a mixture of as many components on the same process.

    Raises:
        UsageError: If y is not one measurement of the operator, or no noise leaves the posterior undefined.
    """
    dim = mixture.means.shape[1]
    A = operator.forward(torch.eye(dim, dtype=torch.float64).view(dim, *mixture.shape)).flatten(1).T
    if y.numel() != len(A) or not y.isfinite().all():
        raise UsageError(
            f"a measurement of shape {list(y.shape)}",
            f"one row of the {len(A)} finite numbers that {type(operator).__name__} gives",
            "y = operator.forward(x0[:1])",
        )
    prior = mixture.basis * mixture.spread[:, None] @ mixture.basis.mT
    cross = prior @ A.T
    total = A @ cross + noise_sd**2 * torch.eye(len(A), dtype=torch.float64)
    try:
        gain = torch.linalg.solve(total, cross.mT).mT
    except torch.linalg.LinAlgError:
        raise UsageError(
            "measurements without noise of which some follow from the others",
            "noise, or fewer of them",
            "noise_sd=1e-3",
        ) from None
    residual = y.double().flatten() - mixture.means @ A.T
    means = mixture.means + torch.einsum("kdm,km->kd", gain, residual)
    rest = torch.eye(dim, dtype=torch.float64) - gain @ A
    covariances = rest @ prior @ rest.mT + noise_sd**2 * gain @ gain.mT  # Joseph's form: never negative by rounding
    evidence = torch.distributions.MultivariateNormal(torch.zeros_like(residual), total).log_prob(residual)
    weights = (mixture.weights.log() + evidence).softmax(0)
    return Mixture(means.view(-1, *mixture.shape), covariances, mixture.process, weights, mixture.labels)
