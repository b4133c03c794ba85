"""What a network is shown: numbers of unit size, and the noise level as one number, whatever the schedule.

    c_in = 1 / sqrt(alpha^2 sd^2 + sigma^2),      c_noise = log(sigma / alpha) / 4

(Karras et al., 2022, table 1, for any alpha.) A network so fed knows noise levels, not times: it can be trained on one
schedule and sampled on another.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.memoize import memoized
from unmelt.process.gaussian import Level, expand

EDGE = 10.0
"""|log(sigma / alpha)| beyond which a network could not tell the difference: signal or noise is below 5e-5."""


def unit_scale(x_t: Float[Tensor, "rows *shape"], level: Level, data_sd: float) -> Float[Tensor, "rows *shape"]:
    """x_t divided by its standard deviation, the data having standard deviation `data_sd`."""
    return x_t * _unit(*level, data_sd, x_t.dtype, x_t.ndim)


@memoized
def _unit(alpha: Tensor, sigma: Tensor, data_sd: float, dtype: torch.dtype, ndim: int) -> Tensor:
    return expand(torch.rsqrt((alpha * data_sd) ** 2 + sigma**2), dtype, ndim)


def noise_level(level: Level, dtype: torch.dtype) -> Float[Tensor, " rows"]:
    """log(sigma / alpha) / 4, finite at both ends of time."""
    return _log_ratio(*level, dtype)


@memoized
def _log_ratio(alpha: Tensor, sigma: Tensor, dtype: torch.dtype) -> Tensor:
    return (torch.log(sigma / alpha).clamp(-EDGE, EDGE) / 4).to(dtype)
