"""Adaptive projected guidance, APG (Sadat, Hilliges and Weber, 2024).

    difference = conditional - null,                        shortened to norm `limit` if it is longer
    guided     = conditional + (scale - 1) (orthogonal + eta parallel)

The part of the difference that is parallel to the conditional belief enlarges it, and so saturates images; the
orthogonal part changes their content. All quantities are beliefs about x0, as in the paper, whatever the network was
trained to output.

The paper's third part, a negative momentum, is left out. It averages differences from step to step, and a denoiser has
no history: with one, equal inputs would give different beliefs, and rows could not be split, joined or paused.
"""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.cfg import null_belief
from unmelt.guidance.guidance import Guidance
from unmelt.guidance.projection import along
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like


@final
@checked_init("um.guidance.APG")
class APG(Guidance):
    """Classifier-free guidance whose difference is projected and limited in norm; two network calls for a belief.

    Args:
        denoiser: The denoiser to guide.
        scale: 1 is unguided, above 1 guided, 0 the worse belief. Rows whose condition has a `guidance_scale` use that.
        eta: Share of the parallel part that is kept; 1 without a limit is plain classifier-free guidance.
        limit: Largest norm of a row's difference, in units of the data (the paper's r, 2.5 to 15 on latents).
        interval: (low, high), times in [0, 1] between which guidance acts; outside it the scale is 1.

    Raises:
        UsageError: If the scale or eta is not finite, the limit is not positive, or the interval is not within [0, 1].
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        eta: float = 0.0,
        limit: float = math.inf,
        interval: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__(denoiser, scale, interval)
        if not (math.isfinite(eta) and limit > 0):
            raise UsageError(
                f"APG with eta={eta}, limit={limit}", "a finite eta and a positive limit", "APG(denoiser, scale=5.0)"
            )
        self.eta, self.limit = eta, limit

    def worse_than(
        self, belief: Point, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Point:
        difference = belief.mean - null_belief(self.denoiser, belief, x_t, t, condition).mean
        size = torch.linalg.vector_norm(difference.flatten(1), dim=1)
        difference = difference * expand_like((self.limit / size).clamp_max(1), x_t)
        parallel = expand_like(along(difference, belief.mean), x_t) * belief.mean
        return Point(belief.mean - (difference - (1 - self.eta) * parallel))
