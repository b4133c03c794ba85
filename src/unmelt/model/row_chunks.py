"""A denoiser that sees a few rows at a time, whatever it is asked for.

A guidance function may hold a value for each row, so that its rows must be sampled together. The memory that a network
needs for all of them may be more than there is.
"""

from typing import Any, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.posterior import Categorical, Point


@final
class RowChunks(DenoiserWrapper):
    """A denoiser that calls another on chunks of the rows.

    Args:
        denoiser: The denoiser.
        most: Rows of a chunk.
    """

    def __init__(self, denoiser: Denoiser, most: int) -> None:
        self.denoiser, self.most = denoiser, most

    def __call__(
        self, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"], condition: Condition | None = None
    ) -> Any:
        if len(x_t) <= self.most:
            return self.denoiser(x_t, t, condition)
        chunks = [slice(first, first + self.most) for first in range(0, len(x_t), self.most)]
        beliefs = [self.denoiser(x_t[of], t[of], None if condition is None else condition[of]) for of in chunks]
        if isinstance(beliefs[0], Point):
            return Point(torch.cat([belief.mean for belief in beliefs]))
        return Categorical.join(beliefs)
