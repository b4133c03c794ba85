"""Noise levels as networks of flow matching are given them: u = sigma / (alpha + sigma), and x_t unscaled.

On x_t = (1 - u) x0 + u noise (Lipman et al., 2023), whatever the schedule. Backbones here are given x_t scaled to unit
size and log(sigma / alpha) / 4, from which both follow.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.denoiser.precondition import EDGE


def flow_level(level: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """The noise level u of flow matching.

    Args:
        level: [rows], log(sigma / alpha) / 4, as networks are given it.

    Returns:
        [rows], from 0 to 1, in float64.
    """
    u = torch.sigmoid(4 * level.double())
    return torch.where(level >= EDGE / 4, 1.0, u)  # the level of pure noise is given as a finite one


def flow_input(
    x: Float[Tensor, "rows channels height width"], u: Float[Tensor, " rows"]
) -> Float[Tensor, "rows channels height width"]:
    """x_t as it is on the straight path, from x_t scaled to unit size.

    Args:
        x: [rows, channels, height, width], as backbones are given it.
        u: [rows], noise levels.

    Returns:
        The same shape.
    """
    return x * torch.sqrt(u**2 + (1 - u) ** 2).to(x.dtype).view(-1, 1, 1, 1)
