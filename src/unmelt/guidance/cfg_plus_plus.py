"""CFG++ (Chung et al., 2024, algorithm 2): guide the clean image, but renoise it with noise that is not guided.

    x_s = alpha_s (c + (scale - 1) (c - null)) + sigma_s (x_t - alpha_t c) / sigma_t            c the conditional belief

Guidance that also extrapolates the noise leaves the distribution of noisy images seen in training. This step is the
ordinary one (`Gaussian.ode_step`) from the belief

    c + (scale - 1) k (c - null),      k = alpha_s / (alpha_s - alpha_t sigma_s / sigma_t)

so that, if the grid is known, it is a denoiser: s is the next knot below t. k is 1 in the last step and grows as steps
shrink. Scales are therefore nearer to 1 than for other guidance, and more steps guide more strongly, by design.

Where the paper differs: it renoises with the noise of the null belief, x_s = alpha_s (null + lambda (c - null)) +
sigma_s (x_t - alpha_t null) / sigma_t. That is the same step with lambda = scale - 1 + 1 / k. The paper holds lambda
fixed from step to step; here the scale is fixed, so that scale 1 is the conditional model on every grid.
"""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.guidance.cfg import null_belief
from unmelt.guidance.guidance import Guidance
from unmelt.memoize import memoized
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like
from unmelt.schedule import Schedule

Knots = Callable[[Schedule], Float[Tensor, " knots"]]
"""schedule -> the decreasing times of a grid."""


@final
@checked_init("um.guidance.CFGpp")
class CFGpp(Guidance):
    """CFG++, for samplers whose step is `Gaussian.ode_step`: DDIM at eta = 0 and Euler. Two network calls for a belief.

    Other samplers extrapolate beliefs or redraw noise, for which this belief is not made.

    Args:
        denoiser: The denoiser to guide.
        scale: 1 is unguided, above 1 guided, 0 the worse belief. Rows whose condition has a `guidance_scale` use that.
        grid: The grid that will be sampled on.
        interval: (low, high), times in [0, 1] between which guidance acts; outside it the scale is 1.

    Raises:
        UsageError: If the scale is not finite, or the interval is not within [0, 1].
    """

    def __init__(
        self, denoiser: Denoiser, scale: float, grid: Knots, interval: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        super().__init__(denoiser, scale, interval)
        self.grid = grid

    def worse_than(
        self, belief: Point, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Point:
        null = null_belief(self.denoiser, belief, x_t, t, condition)
        return belief.lerp(null, expand_like(_gain(self.grid, self.process.schedule, t), x_t))


@memoized
def _gain(grid: Knots, schedule: Schedule, t: Tensor) -> Tensor:
    """k for the step from t to the next knot below it; 1 at t = 0, where there is no further step."""
    rising = grid(schedule).to(t.device).flip(0)
    s = rising[(torch.searchsorted(rising, t.contiguous()) - 1).clamp_min(0)]
    ratio = schedule.alpha(t) * schedule.sigma(s) / (schedule.alpha(s) * schedule.sigma(t))
    return torch.where(t > 0, 1 / (1 - ratio), 1.0)
