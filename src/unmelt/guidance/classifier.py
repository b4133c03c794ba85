"""Classifier guidance (Dhariwal and Nichol, 2021, section 4): what Bayes' rule makes of a classifier of noisy data.

    score(x_t | c) = score(x_t) + grad log p(c | x_t),      hence      x0(x_t | c) - x0(x_t) = sigma^2 / alpha grad

so a classifier says what would be believed without the condition, and guidance moves away from that: with an exact
classifier this is classifier-free guidance at the same scale. Around a denoiser that was never told the condition,
scale 2 is Bayes' rule itself, and scale - 1 the paper's s.

Where alpha is 0, x_t knows nothing of c, its gradient is 0, and nothing is guided.
"""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.guidance import Guidance
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like

LogProbability = Callable[[Tensor, Tensor, Condition | None], Tensor]


@final
class Classifier(Guidance):
    """A denoiser steered by the gradient of a classifier; one network call and one gradient a belief.

    log_probability   (x_t, t, condition) -> [rows], log p(c | x_t) up to a constant; differentiable in x_t
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
        reach = torch.where(alpha > 0, sigma**2 / alpha, 0.0)
        return Point(belief.mean - expand_like(reach, x_t) * self._gradient(x_t, t, condition))

    def _gradient(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        followed = torch.is_grad_enabled() and x_t.requires_grad
        with torch.enable_grad():
            x = x_t if followed else x_t.detach().requires_grad_()
            found = self.log_probability(x, t, condition)
            if found.shape != t.shape or not found.requires_grad:
                raise UsageError(
                    f"a log_probability that gave {list(found.shape)} for {len(t)} rows"
                    + ("" if found.requires_grad else ", with no gradient"),
                    f"[{len(t)}], one number a row, differentiable in x_t",
                    "logits.log_softmax(1).gather(1, condition.label[:, None])[:, 0]",
                )
            return torch.autograd.grad(found.sum(), x, create_graph=followed)[0]
