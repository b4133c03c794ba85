"""No movement during the first steps: the zero-init of CFG-Zero* (Fan et al., 2025).

From pure noise a badly learned velocity can be worse than none. In straight coordinates the velocity is (w - x0) / u,
so it is 0 where x0 is believed to be w itself, and noise then waits, only its size following the schedule. Multistep
samplers would extrapolate from such a belief: use it with those of one step.
"""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like


@final
class ZeroInit(DenoiserWrapper):
    """A denoiser, guided or not, that is only asked from `after` on.

    after   the time above which nothing moves; 1 waits for nothing. The paper's 4 % of equal steps are 0.96
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
        still = t > self.after
        if not still.any():
            return self.denoiser(x_t, t, condition)
        w, _ = self.process.straighten(x_t, t)
        if still.all():
            return Point(w)
        return self.denoiser(x_t, t, condition).lerp(Point(w), expand_like(torch.where(still, 1.0, 0.0), x_t))
