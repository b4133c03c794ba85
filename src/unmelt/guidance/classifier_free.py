"""Classifier-free guidance (Ho and Salimans, 2022): move away from what would be believed without the condition.

guided = null + scale (conditional - null)
"""

from typing import Any, final

from jaxtyping import Float, Shaped
from torch import Tensor

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
    """What the denoiser believes without the condition; where there was none, `belief` itself."""
    return belief if condition is None else denoiser(x_t, t, condition.null())


@final
class CFG(Guidance):
    """A denoiser that overstates the difference its condition makes; two network calls a belief."""

    def worse_than(
        self, belief: Any, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Any:
        return null_belief(self.denoiser, belief, x_t, t, condition)
