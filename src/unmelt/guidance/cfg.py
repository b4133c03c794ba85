"""Classifier-free guidance (Ho and Salimans, 2022, equation 6): move away from the belief without the condition.

guided = null + scale (conditional - null)
"""

from typing import Any, final

from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.guidance.guidance import Guidance


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
    """Classifier-free guidance: extrapolates from the null belief through the conditional one. Two network calls.

    Args:
        denoiser: The denoiser to guide.
        scale: Guidance scale w; 1 is unguided, 0 is the null belief. A row with `Condition.guidance_scale` uses that.
        interval: (low, high), times in [0, 1] between which guidance acts; outside it the scale is 1.

    Raises:
        UsageError: If the scale is not finite, or the interval is not within [0, 1].
    """

    def worse_than(
        self, belief: Any, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Any:
        return null_belief(self.denoiser, belief, x_t, t, condition)
