"""Autoguidance (Karras et al., 2024): move away from what a worse version of the model believes.

    guided = worse + scale (good - worse)

The worse model (smaller, trained for less time, on less data) makes the same mistakes more strongly, so this moves
away from mistakes, and not, as classifier-free guidance does, from other classes too. It needs no condition.
"""

from typing import Any, final

from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.guidance import Guidance


@final
class Autoguidance(Guidance):
    """A good denoiser against a worse one of the same process; one call of each a belief."""

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
