"""CFG-Zero* (Fan et al., 2025): the null velocity, scaled to fit the conditional one best.

    guided = s null + scale (conditional - s null),      s = <conditional, null> / <null, null>            of velocities

An underfitted flow has velocities of the wrong size; s minimises |conditional - s null| for each row. In straight
coordinates (`Gaussian.straighten`) the velocity is (w - x0) / u on every schedule, so that s times the null velocity
belongs to the null belief interpolated towards w by 1 - s. The other half of the paper, no movement during the first
steps, is a separate wrapper, `ZeroInit`.
"""

from typing import final

from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.guidance.cfg import null_belief
from unmelt.guidance.guidance import Guidance
from unmelt.guidance.projection import along
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like


@final
@checked_init("um.guidance.CFGZero")
class CFGZero(Guidance):
    """Classifier-free guidance away from the best multiple of the null velocity; two network calls for a belief.

    Args:
        denoiser: The denoiser to guide.
        scale: 1 is unguided, above 1 guided, 0 the worse belief. Rows whose condition has a `guidance_scale` use that.
        interval: (low, high), times in [0, 1] between which guidance acts; outside it the scale is 1.

    Raises:
        UsageError: If the scale is not finite, or the interval is not within [0, 1].
    """

    def worse_than(
        self, belief: Point, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Point:
        null = null_belief(self.denoiser, belief, x_t, t, condition)
        w, _ = self.process.straight_coordinates(x_t, t)
        share = along(w - belief.mean, w - null.mean)
        return null.lerp(Point(w), expand_like(1 - share, x_t))
