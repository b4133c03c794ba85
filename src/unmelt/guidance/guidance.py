"""What every kind of guidance does: move a belief away from a worse one.

    guided = worse + scale (belief - worse)                for low <= t <= high, elsewhere the belief as it is

Kinds differ in what is worse: the belief without the condition (`CFG`), that of a weaker model (`Autoguidance`), what
Bayes' rule makes of a classifier (`Classifier`), or a better chosen reference than any of these. The interval is that
of Kynkäänniemi et al., 2024. Scale 1 is no guidance, at no cost: nothing worse is then asked for.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.process.gaussian import expand_like


def check_scale(scale: float) -> None:
    """Refuse a scale that is no number."""
    if not math.isfinite(scale):
        raise UsageError(f"a guidance scale of {scale}", "a finite number", "guidance=2.0")


class Guidance(DenoiserWrapper, ABC):
    """A denoiser made of denoisers.

    scale      1 unguided, above 1 guided, 0 the worse belief
    interval   (low, high) times between which to guide; outside it the scale is 1
    """

    def __init__(self, denoiser: Denoiser, scale: float, interval: tuple[float, float] = (0.0, 1.0)) -> None:
        check_scale(scale)
        low, high = interval
        if not 0 <= low < high <= 1:
            raise UsageError(
                f"a guidance interval of {interval}", "two times with 0 <= low < high <= 1", "interval=(0.2, 0.8)"
            )
        self.denoiser, self.scale, self.interval = denoiser, scale, interval

    @abstractmethod
    def worse_than(
        self, belief: Any, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Any:
        """The belief to move away from, given the denoiser's own; finite at every t."""

    @final
    def __call__(
        self, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Any:
        return self.beliefs(x_t, t, condition)[1]

    @final
    def beliefs(
        self, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> tuple[Any, Any]:
        """What is believed without guidance, and with it."""
        belief = self.denoiser(x_t, t, condition)
        low, high = self.interval
        inside = (t >= low) & (t <= high)
        if self.scale == 1 or not inside.any():
            return belief, belief
        weight = torch.where(inside, self.scale, torch.ones_like(t))  # in float64, as t is
        return belief, self.worse_than(belief, x_t, t, condition).lerp(belief, expand_like(weight, x_t))
