"""What a network is given: inputs of unit size, and the noise level as one number, whatever the schedule.

    c_in = 1 / sqrt(alpha^2 sd^2 + sigma^2),      c_noise = log(sigma / alpha) / 4

(Karras et al., 2022, table 1, for any alpha.) Such a network knows noise levels, not times: it can be trained on one
schedule and sampled on another.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.memoize import memoized
from unmelt.process.broadcast import expand
from unmelt.process.gaussian import Level

EDGE = 10.0
"""|log(sigma / alpha)| beyond which a network could not tell the difference: signal or noise is below 5e-5."""


def unit_scale(x_t: Float[Tensor, "rows *shape"], level: Level, data_sd: float) -> Float[Tensor, "rows *shape"]:
    """Scale x_t to unit standard deviation.

    Args:
        x_t: [rows, *axes, *rest], data at some time.
        level: alpha and sigma at that time, each [rows, *axes].
        data_sd: Standard deviation of the data.

    Returns:
        c_in x_t, of the shape of x_t.
    """
    return x_t * _unit(*level, data_sd, x_t.dtype, x_t.ndim)


@memoized
def _unit(alpha: Tensor, sigma: Tensor, data_sd: float, dtype: torch.dtype, ndim: int) -> Tensor:
    return expand(torch.rsqrt((alpha * data_sd) ** 2 + sigma**2), dtype, ndim)


def noise_level(level: Level, dtype: torch.dtype) -> Float[Tensor, "rows *axes"]:
    """The noise level as networks are given it: log(sigma / alpha) / 4, finite at both ends of time.

    Args:
        level: alpha and sigma, each [rows, *axes].
        dtype: Precision of the answer.

    Returns:
        [rows, *axes], from -2.5 at t = 0 to at most 2.5.
    """
    return _log_ratio(*level, dtype)


@memoized
def _log_ratio(alpha: Tensor, sigma: Tensor, dtype: torch.dtype) -> Tensor:
    return (torch.log(sigma / alpha).clamp(-EDGE, EDGE) / 4).to(dtype)
