"""A number for each row and how far it may be off; and what may be asked for it."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.process.gaussian import Gaussian

START = 0.002
"""sigma / alpha below which nothing is asked of the denoiser: where the samplers' grids end too."""


class Estimate(NamedTuple):
    """In nats, a number for each row; `error` is the standard error of what was drawn at random, 0 if nothing was."""

    value: Float64[Tensor, " rows"]
    error: Float64[Tensor, " rows"]


def check_data(denoiser: Any, x0: Tensor, condition: Condition | None) -> None:
    """Refuse data that have no density under this denoiser."""
    shape = tuple(getattr(denoiser, "shape", x0.shape[1:]))
    if tuple(x0.shape[1:]) != shape or x0.ndim < 2:
        raise UsageError(
            f"x0 of shape {tuple(x0.shape)}",
            f"rows of shape {shape or '(dimensions, ...)'}, one after the other",
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


def check_start(process: Gaussian, start: float) -> None:
    """Refuse a noise level to start from that the process does not pass through."""
    alpha, sigma = process.level(torch.ones(1, dtype=torch.float64))
    if not 0 < start < (sigma / alpha).item():
        raise UsageError(
            f"start={start}",
            f"a small noise-to-signal ratio, above 0 and below the {(sigma / alpha).item():.4g} of t = 1",
            f"start={START}",
        )
