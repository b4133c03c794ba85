"""Inpainting by replacement: the known values are certain, the rest is believed as the denoiser believes it.

    belief = known ? value : E[x0 | x_t]

The known part of x_t then moves straight to its values, and the denoiser sees it at the right noise level throughout
(Song et al., 2021, appendix I.2; Lugmayr et al., 2022). The unknown part is informed of it only through the noisy x_t,
so the result is exact only if known and unknown values are independent. Going back to more noise and repeating
(resampling, `Restart`) corrects much of that; `MMPS` with a `Inpainting` uses the denoiser's derivative instead.
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.inverse.operator import check_known
from unmelt.posterior import Point


@final
@checked_init("um.inverse.Replacement")
@dataclass(frozen=True, eq=False)
class Replacement:
    """A denoiser that is certain of some numbers.

    Args:
        denoiser: The denoiser of the data's prior.
        values: [rows, *shape], or [1, *shape] for all rows: data with the known numbers in place. The others may be
            anything, NaN included.
        known: [*shape] for all rows, or [rows, *shape]: True where a number is known.

    Raises:
        UsageError: If `known` is not boolean or nowhere True, the shapes differ, or known values are not finite.
    """

    denoiser: Denoiser
    values: Float[Tensor, "rows *shape"]
    known: Shaped[Tensor, "*mask"]

    def __post_init__(self) -> None:
        check_known(self.known)
        one_for_all = self.values.shape[1:] == self.known.shape
        if not one_for_all and self.values.shape != self.known.shape:
            raise UsageError(
                f"values of shape {list(self.values.shape)} with a mask of shape {list(self.known.shape)}",
                "rows of the mask's shape, or a mask for each row",
                "Replacement(denoiser, values[None], known)",
            )
        if not self.values[self.known.expand(self.values.shape)].isfinite().all():
            raise UsageError(
                "known values that are not finite", "numbers wherever `known` is True", "known & ~x.isnan()"
            )

    @property
    def process(self) -> Any:
        """The process of the inner denoiser."""
        return self.denoiser.process

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(self.values.shape[1:])

    def __call__(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Point:
        if x_t.shape[1:] != self.values.shape[1:] or len(self.values) not in (1, len(x_t)):
            raise UsageError(
                f"known values of shape {list(self.values.shape)} for rows of shape {list(x_t.shape)}",
                "one for all, [1, ...], or one for each row",
                "values=x0[:1]",
            )
        mean = self.denoiser(x_t, t, condition).mean
        return Point(torch.where(self.known.to(mean.device), self.values.to(mean), mean))
