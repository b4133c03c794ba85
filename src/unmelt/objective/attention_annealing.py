"""Attention of a causal model, widened from causal to full over the first part of training.

    position i attends to j    where j <= i, or with probability a(step) elsewhere,        a = min(1, step / steps)

(Gong et al., 2025, "Scaling Diffusion Language Models via Adaptation from Autoregressive Models", section 3.3.) At step
0 the network computes what the causal model did, and from step `steps` on attention is full. Each row draws its own
positions in every step, so that no part of the network learns to count on one of them.
"""

from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.objective.objective import Objective
from unmelt.rng import Random

ATTENTION = "attention"
"""Name of the extra condition that says which positions attend to which."""


@final
@checked_init("um.objective.AttentionAnnealing")
@dataclass(frozen=True, kw_only=True)
class AttentionAnnealing:
    """Another objective, with attention that grows from causal to full. Called as it is, attention is full.

    The backbone must read the extra condition "attention", as `interop.LanguageNetwork` does.

    Args:
        objective: The objective.
        steps: Training steps until attention is full.

    Raises:
        UsageError: If the number of steps is below 1.
    """

    objective: Objective
    steps: int

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or self.steps < 1:
            raise UsageError(
                f"AttentionAnnealing with steps={self.steps!r}", "at least 1", "AttentionAnnealing(..., steps=1000)"
            )

    def __call__(
        self, denoiser: Any, x0: Int64[Tensor, "rows length"], condition: Condition | None, rng: Random
    ) -> Float[Tensor, " rows"]:
        return self.objective(denoiser, x0, condition, rng)

    def at_step(self, step: int) -> Objective:
        """The objective of one training step.

        Args:
            step: Number of the step, counted from 0.

        Returns:
            The objective, with as much attention as is due.
        """
        return self.objective if step >= self.steps else WidenedAttention(self.objective, step / self.steps)


@final
@dataclass(frozen=True)
class WidenedAttention:
    """An objective with causal attention and a share of the rest.

    Args:
        objective: The objective.
        share: Probability that a position attends to a later one.
    """

    objective: Objective
    share: float

    def __call__(
        self, denoiser: Any, x0: Int64[Tensor, "rows length"], condition: Condition | None, rng: Random
    ) -> Float[Tensor, " rows"]:
        size = x0.shape[1] + 1  # the beginning of a row, and its positions
        earlier = torch.ones(size, size, dtype=torch.bool, device=x0.device).tril()
        attention = earlier | (rng.uniform((len(x0), size, size), device=x0.device) < self.share)
        known = Condition() if condition is None else condition
        return self.objective(denoiser, x0, replace(known, extra={**known.extra, ATTENTION: attention}), rng)
