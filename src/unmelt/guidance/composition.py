"""Several conditions at once (Liu et al., 2022): their differences from the null belief, added up.

    composed = own + sum_i scale_i (c_i - null)

This is the score of p(x | own) prod_i (p(x | c_i) / p(x))^scale_i, as if conditions were independent given x. `own` is
the belief under the condition a row comes with, hence one more at scale 1, or the null belief if it has none; a
negative scale says what should not be seen.
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.guidance.guidance import check_scale
from unmelt.posterior import Point


@final
class Composition(DenoiserWrapper):
    """A denoiser told several things at once; one network call for each, and one for the null belief.

    conditions   each of one row, which is meant for all rows
    scales       of each; 1 is Bayes' rule, 0 leaves it out
    """

    def __init__(self, denoiser: Denoiser, conditions: Sequence[Condition], scales: Sequence[float]) -> None:
        instead = "Composition(denoiser, [Condition(label=torch.tensor([3]))], [1.0])"
        if not conditions or len(conditions) != len(scales):
            raise UsageError(
                f"{len(conditions)} conditions with {len(scales)} scales", "one scale for each condition", instead
            )
        for condition, scale in zip(conditions, scales, strict=True):
            check_scale(scale)
            if len(condition) != 1:
                raise UsageError(f"a condition of {len(condition)} rows to compose", "one row, for all rows", instead)
        self.denoiser, self.conditions, self.scales = denoiser, tuple(conditions), tuple(scales)

    def __call__(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Point:
        every = torch.zeros(len(x_t), dtype=torch.int64, device=x_t.device)
        known = [one.to(x_t.device)[every] for one in self.conditions]
        null, total = known[0].null(), sum(self.scales)
        weighed = list(zip(self.scales, known, strict=True))
        weighed += [(1 - total, null)] if condition is None else [(1.0, condition), (-total, null)]
        beliefs = [weight * self.denoiser(x_t, t, one).mean for weight, one in weighed if weight]
        return Point(torch.stack(beliefs).sum(0))
