"""CFG-Zero* (Fan et al., 2025): the null velocity, at the size that best explains the conditional one.

    guided = s null + scale (conditional - s null),      s = <conditional, null> / <null, null>            of velocities

While a flow is learned badly its velocities are wrong in size too; s is the one that makes |conditional - s null|
smallest, row by row. In straight coordinates (`Gaussian.straighten`) the velocity is (w - x0) / u on every schedule, so
that a share s of the null velocity is the null belief, drawn towards w by 1 - s. The paper's other half, no movement
during the first steps, is a wrapper of its own, `ZeroInit`.
"""

from typing import final

from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.guidance.classifier_free import null_belief
from unmelt.guidance.guidance import Guidance
from unmelt.guidance.projection import along
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like


@final
class CFGZero(Guidance):
    """Classifier-free guidance away from the best multiple of the null velocity."""

    def worse_than(
        self, belief: Point, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Point:
        null = null_belief(self.denoiser, belief, x_t, t, condition)
        w, _ = self.process.straighten(x_t, t)
        share = along(w - belief.mean, w - null.mean)
        return null.lerp(Point(w), expand_like(1 - share, x_t))
