"""An estimate with its standard error for each row, and the checks of what likelihoods are asked of."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.process.gaussian import Gaussian

SIGMA_MIN = 0.002
"""sigma / alpha below which the denoiser is not called; the samplers' grids end there too."""


class Estimate(NamedTuple):
    """An estimate in nats, for each row.

    Args:
        value: [rows], the estimates.
        error: [rows], their standard errors from random draws; 0 if nothing was drawn.
    """

    value: Float64[Tensor, " rows"]
    error: Float64[Tensor, " rows"]


def check_data(denoiser: Any, x0: Tensor, condition: Condition | None) -> None:
    """Refuse data that have no density under this denoiser.

    Args:
        denoiser: A denoiser, with a `shape` if it knows one.
        x0: The data.
        condition: What is known of each row; None for nothing.

    Raises:
        UsageError: If x0 has another shape than the denoiser's rows, or integers or non-finite numbers in it, or the
            condition has another number of rows.
    """
    shape = tuple(getattr(denoiser, "shape", x0.shape[1:]))
    if tuple(x0.shape[1:]) != shape or x0.ndim < 2:
        raise UsageError(
            f"x0 of shape {tuple(x0.shape)}",
            f"a batch of rows of shape {shape or '(dimensions, ...)'}",
            f"x0.view(-1, {', '.join(map(str, shape or (1,)))})",
        )
    if not x0.is_floating_point() or not x0.isfinite().all():
        raise UsageError("x0 with numbers that are not finite, or whole numbers", "finite float32 or float64 data")
    if condition is not None and len(condition) not in (0, len(x0)):
        raise UsageError(
            f"a condition of {len(condition)} rows for {len(x0)} rows of x0",
            "one row of it for each row of x0",
            "Condition(label=torch.full((len(x0),), 3))",
        )


def check_sigma_min(process: Gaussian, sigma_min: float) -> None:
    """Refuse a starting noise level that the process does not pass through.

    Args:
        process: The Gaussian process.
        sigma_min: sigma / alpha at the start.

    Raises:
        UsageError: Unless it is above 0 and below sigma / alpha at t = 1.
    """
    alpha, sigma = process.level(torch.ones(1, dtype=torch.float64))
    if not 0 < sigma_min < (sigma / alpha).item():
        raise UsageError(
            f"sigma_min={sigma_min}",
            f"a small noise-to-signal ratio, above 0 and below the {(sigma / alpha).item():.4g} of t = 1",
            f"sigma_min={SIGMA_MIN}",
        )
