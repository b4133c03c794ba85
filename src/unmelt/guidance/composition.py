"""Composition of several conditions (Liu et al., 2022): the sum of their differences from the null belief.

    composed = own + sum_i scale_i (c_i - null)

This is the score of p(x | own) prod_i (p(x | c_i) / p(x))^scale_i, for conditions that are independent given x. `own`
is the belief under the condition of the row itself, which acts as one more condition at scale 1, or the null belief if
the row has none. A negative scale avoids a condition.
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.guidance.guidance import check_scale
from unmelt.posterior import Point


@final
@checked_init("um.guidance.Composition")
class Composition(DenoiserWrapper):
    """A denoiser under several conditions at once; one network call for each, and one for the null belief.

    Args:
        denoiser: The denoiser to condition.
        conditions: The conditions, each of one row, which applies to all rows.
        scales: The scale of each condition; 1 is Bayes' rule, 0 leaves it out, below 0 avoids it.

    Raises:
        UsageError: If there is not one finite scale for each condition, or a condition has several rows.
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
        repeat = torch.zeros(len(x_t), dtype=torch.int64, device=x_t.device)
        conditions = [one.to(x_t.device)[repeat] for one in self.conditions]
        null, total = conditions[0].null(), sum(self.scales)
        weighted = list(zip(self.scales, conditions, strict=True))
        weighted += [(1 - total, null)] if condition is None else [(1.0, condition), (-total, null)]
        beliefs = [weight * self.denoiser(x_t, t, one).mean for weight, one in weighted if weight]
        return Point(torch.stack(beliefs).sum(0))
