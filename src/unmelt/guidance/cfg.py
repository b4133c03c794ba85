"""Classifier-free guidance (Ho and Salimans, 2022, equation 6): move away from the belief without the condition.

guided = null + scale (conditional - null)

A condition with a `negative` (a negative prompt) has the belief under that in place of the null belief.

Both beliefs of few rows come from one network call, in which rows that are not guided have no second part: it costs
less than two calls, and rows with and without guidance share it.
"""

from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.guidance.guidance import Guidance
from unmelt.posterior import Point


def null_belief(
    denoiser: Denoiser,
    belief: Any,
    x_t: Shaped[Tensor, "rows *shape"],
    t: Float[Tensor, " rows"],
    condition: Condition | None,
) -> Any:
    """The belief under the null condition.

    Args:
        denoiser: The denoiser.
        belief: The belief under the condition.
        x_t: [rows, *shape], the noisy data.
        t: [rows] or finer, the times.
        condition: What is known of each row; None for nothing.

    Returns:
        A posterior; `belief` itself if there is no condition, which saves a network call.
    """
    return belief if condition is None else denoiser(x_t, t, condition.null())


@final
@checked_init("um.guidance.CFG")
class CFG(Guidance):
    """Classifier-free guidance: extrapolates from the null belief through the conditional one.

    It costs two network calls, or one of twice the rows where they are few and the network is a `NetworkDenoiser`.

    Args:
        denoiser: The denoiser to guide.
        scale: Guidance scale w; 1 is unguided, 0 is the null belief. A row with `Condition.guidance_scale` uses that.
        interval: (low, high), times in [0, 1] between which guidance acts; outside it the scale is 1.
        at_once: Most rows of a network call that gives both beliefs. Of more rows they come from two calls, which need
            half the memory; with 0 always, and a row's belief does not depend on which others are guided, bit for bit.

    Raises:
        UsageError: If the scale is not finite, or the interval is not within [0, 1].
    """

    def __init__(
        self, denoiser: Denoiser, scale: float, interval: tuple[float, float] = (0.0, 1.0), at_once: int = 32
    ) -> None:
        super().__init__(denoiser, scale, interval)
        self.at_once = at_once

    def worse_than(
        self, belief: Any, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Any:
        return null_belief(self.denoiser, belief, x_t, t, condition)

    def own_and_worse(
        self,
        x_t: Shaped[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None,
        acts: Bool[Tensor, "rows *axes"],
    ) -> tuple[Any, Any]:
        rows = len(x_t)
        if condition is None or 2 * rows > self.at_once or not getattr(self.denoiser, "rows_are_independent", False):
            return super().own_and_worse(x_t, t, condition, acts)
        at = (acts.flatten(1).any(1) if acts.ndim > 1 else acts).nonzero()[:, 0]
        both = Condition.join([replace(condition, negative=None), condition[at].null()], [rows, len(at)])
        mean = self.denoiser(torch.cat([x_t, x_t[at]]), torch.cat([t, t[at]]), both).mean
        return Point(mean[:rows]), Point(mean[:rows].index_copy(0, at, mean[rows:]))
