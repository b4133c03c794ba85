"""Classifier guidance (Dhariwal and Nichol, 2021, section 4): Bayes' rule with a classifier of noisy data.

    score(x_t | c) = score(x_t) + grad log p(c | x_t),      hence      x0(x_t | c) - x0(x_t) = sigma^2 / alpha grad

so a classifier determines the belief without the condition, and guidance moves away from that: with an exact classifier
this is classifier-free guidance at the same scale. Around an unconditional denoiser scale 2 is Bayes' rule itself, and
scale - 1 is the paper's s.

Where alpha is 0, x_t is independent of c, the gradient is 0, and guidance has no effect.
"""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.guidance import Guidance
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like

LogProbability = Callable[[Tensor, Tensor, Condition | None], Tensor]
"""(x_t, t, condition) -> log p(c | x_t) of each row, up to a constant."""


@final
@checked_init("um.guidance.ClassifierGuidance")
class ClassifierGuidance(Guidance):
    """A denoiser guided by the gradient of a classifier; one network call and one gradient for a belief.

    Args:
        denoiser: The denoiser to guide, conditional or not.
        log_probability: (x_t, t, condition) -> [rows], log p(c | x_t) up to a constant; differentiable in x_t.
        scale: 1 is unguided, above 1 guided, 0 the worse belief. Rows whose condition has a `guidance_scale` use that.
        interval: (low, high), times in [0, 1] between which guidance acts; outside it the scale is 1.

    Raises:
        UsageError: If the scale is not finite, or the interval is not within [0, 1].
    """

    def __init__(
        self,
        denoiser: Denoiser,
        log_probability: LogProbability,
        scale: float,
        interval: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__(denoiser, scale, interval)
        self.log_probability = log_probability

    def worse_than(
        self, belief: Point, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
    ) -> Point:
        alpha, sigma = self.process.level(t)
        factor = torch.where(alpha > 0, sigma**2 / alpha, 0.0)
        return Point(belief.mean - expand_like(factor, x_t) * self._gradient(x_t, t, condition))

    def _gradient(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        differentiable = torch.is_grad_enabled() and x_t.requires_grad
        with torch.enable_grad():
            x = x_t if differentiable else x_t.detach().requires_grad_()
            value = self.log_probability(x, t, condition)
            if value.shape != t.shape or not value.requires_grad:
                raise UsageError(
                    f"a log_probability that gave {list(value.shape)} for {len(t)} rows"
                    + ("" if value.requires_grad else ", with no gradient"),
                    f"[{len(t)}], one number a row, differentiable in x_t",
                    "logits.log_softmax(1).gather(1, condition.label[:, None])[:, 0]",
                )
            return torch.autograd.grad(value.sum(), x, create_graph=differentiable)[0]
