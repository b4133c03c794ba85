"""No movement during the first steps: the zero-init of CFG-Zero* (Fan et al., 2025).

In pure noise the velocity of an underfitted model can be worse than none. In straight coordinates the velocity is
(w - x0) / u, which is 0 if the belief about x0 is w itself: the noise then stays, and only its size follows the
schedule. Multistep samplers would extrapolate from such a belief: use it with one-step samplers.
"""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like


@final
@checked_init("um.guidance.ZeroInit")
class ZeroInit(DenoiserWrapper):
    """A denoiser, guided or not, that is not called above the time `after`, where rows do not move.

    Args:
        denoiser: The denoiser to wrap.
        after: The time above which nothing moves; 1 changes nothing. The paper's 4 % of equal steps are 0.96.

    Raises:
        UsageError: If the time is not above 0 and at most 1.
    """

    def __init__(self, denoiser: Denoiser, after: float = 0.96) -> None:
        if not 0 < after <= 1:
            raise UsageError(
                f"ZeroInit after {after}", "a time above 0 and at most 1", "ZeroInit(denoiser, after=0.96)"
            )
        self.denoiser, self.after = denoiser, after

    def __call__(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Any:
        waiting = t > self.after
        if not waiting.any():
            return self.denoiser(x_t, t, condition)
        w, _ = self.process.straight_coordinates(x_t, t)
        if waiting.all():
            return Point(w)
        return self.denoiser(x_t, t, condition).lerp(Point(w), expand_like(torch.where(waiting, 1.0, 0.0), x_t))
