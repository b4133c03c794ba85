"""Inpainting by replacement: believe what is known, and of the rest what the denoiser believes.

    belief = known ? value : E[x0 | x_t]

The known part of x_t then walks straight to its values, and the denoiser sees it at the right noise level all the way
(Song et al., 2021, appendix I.2; Lugmayr et al., 2022). The rest never learns from it more than the denoiser tells from
noisy x_t: exact only where known and unknown are independent. Going back a little and repeating (resampling) mends much
of that; `MMPS` with a `Mask` asks the denoiser's derivative instead.
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.inverse.operator import check_known
from unmelt.posterior import Point


@final
@dataclass(frozen=True, eq=False)
class Replacement:
    """A denoiser that is certain of some numbers.

    values   data with the known numbers in place, the others being anything, even NaN: of each row, or one for all
    known    of the shape of one row, True where a number is known
    """

    denoiser: Denoiser
    values: Float[Tensor, "rows *shape"]
    known: Shaped[Tensor, "*mask"]

    def __post_init__(self) -> None:
        check_known(self.known)
        if self.values.shape[1:] != self.known.shape:
            raise UsageError(
                f"values of shape {list(self.values.shape)} with a mask of shape {list(self.known.shape)}",
                "rows of the mask's shape",
                "Replacement(denoiser, values[None], known)",
            )
        if not self.values[:, self.known].isfinite().all():
            raise UsageError(
                "known values that are not finite", "numbers wherever `known` is True", "known & ~x.isnan()"
            )

    @property
    def process(self) -> Any:
        return self.denoiser.process

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.known.shape)

    def __call__(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Point:
        if x_t.shape[1:] != self.known.shape or len(self.values) not in (1, len(x_t)):
            raise UsageError(
                f"known values of shape {list(self.values.shape)} for rows of shape {list(x_t.shape)}",
                "one for all, [1, ...], or one for each row",
                "values=x0[:1]",
            )
        mean = self.denoiser(x_t, t, condition).mean
        return Point(torch.where(self.known.to(mean.device), self.values.to(mean), mean))
