"""Autoguidance (Karras et al., 2024): move away from the belief of a worse version of the model.

    guided = worse + scale (good - worse)

The worse model (smaller, or trained for less time or on less data) makes the same mistakes more strongly, so this moves
away from mistakes. Classifier-free guidance also moves away from other classes. No condition is needed.
"""

from typing import Any, final

from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.guidance import Guidance


@final
@checked_init("um.guidance.Autoguidance")
class Autoguidance(Guidance):
    """A denoiser guided away from a worse one of the same process; one call of each for a belief.

    Args:
        denoiser: The denoiser to guide.
        worse: The worse denoiser.
        scale: 1 is unguided, above 1 guided, 0 the worse belief. Rows whose condition has a `guidance_scale` use that.
        interval: (low, high), times in [0, 1] between which guidance acts; outside it the scale is 1.

    Raises:
        UsageError: If the two denoisers have different processes, the scale is not finite, or the interval is not
            within [0, 1].
    """

    def __init__(
        self, denoiser: Denoiser, worse: Denoiser, scale: float, interval: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        super().__init__(denoiser, scale, interval)
        if worse.process != denoiser.process:
            raise UsageError(
                f"a denoiser of {denoiser.process} and a worse one of {worse.process}",
                "two denoisers of one process",
                "Autoguidance(model.denoiser, model.denoiser.base, scale=2.0)",
            )
        self.worse = worse

    def worse_than(
        self, belief: Any, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Any:
        return self.worse(x_t, t, condition)
