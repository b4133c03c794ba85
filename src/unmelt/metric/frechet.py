"""Fréchet distance: Wasserstein-2, squared, between the Gaussians fitted to two sets of features.

    d^2 = |m_a - m_b|^2 + tr C_a + tr C_b - 2 tr (C_a^1/2 C_b C_a^1/2)^1/2          Dowson and Landau, 1982, eq. 4

With any factors C = R^T R the last trace is the sum of the singular values of R_a R_b^T. The triangle of a QR
decomposition of the centred features is such a factor. No covariance is formed and no matrix root is taken:
rank-deficient covariances are no special case, and the distance of a set from itself is 0 to rounding error.

With the features of a large classifier this is the FID of Heusel et al., 2017. Its bias is about c / rows, upwards:
scores are comparable only at equal numbers of rows. Report what real, held-out data score beside it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.errors import UsageError


def frechet_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """Compute the squared Fréchet distance between two sets of features.

    Args:
        a: Features of one set.
        b: Features of the other.

    Returns:
        The squared distance, in squared units of the features.

    Raises:
        UsageError: If either set has fewer than 2 rows.
    """
    if min(len(a), len(b)) < 2:
        raise UsageError(
            f"frechet_distance was given {len(a)} and {len(b)} rows",
            "at least 2 of each",
            "frechet_distance(real, samples)",
        )
    mean_a, root_a = _fit(a.double())
    mean_b, root_b = _fit(b.double())
    overlap = torch.linalg.svdvals(root_a @ root_b.T).sum()
    spread = root_a.square().sum() + root_b.square().sum() - 2 * overlap
    return max(0.0, float((mean_a - mean_b).square().sum() + spread))


def frechet_extrapolated(samples: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> float:
    """Extrapolate the squared Fréchet distance to infinitely many samples (FID-infinity, Chong and Forsyth, 2020).

    n samples add c / n to the distance F(n) in expectation, and n / 2 add twice as much. The estimate is
    2 F(n) - F(n / 2), the latter being the mean over both halves of the samples.

    Args:
        samples: Features of the samples.
        real: Features of real data.

    Returns:
        The estimate; it may be below 0 where the true distance is near 0.

    Raises:
        UsageError: If there are fewer than 4 samples or 2 real rows.
    """
    middle = len(samples) // 2
    halves = (frechet_distance(samples[:middle], real) + frechet_distance(samples[middle:], real)) / 2
    return 2 * frechet_distance(samples, real) - halves


def _fit(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "r d"]]:
    """The mean, and R with R^T R = the unbiased covariance."""
    mean = x.mean(0)
    return mean, torch.linalg.qr((x - mean) / (len(x) - 1) ** 0.5, mode="r").R
