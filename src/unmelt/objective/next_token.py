"""The objective of autoregression: the negative log-likelihood of every token given those before it."""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.objective.counted_tokens import counted
from unmelt.rng import Random


@final
@checked_init("um.objective.NextToken")
@dataclass(frozen=True, kw_only=True)
class NextToken:
    """The exact negative log-likelihood in nats per counted token of a row, for an `Autoregressive` denoiser.

    Args:
        padding: Token that fills rows up, which is never counted. Known tokens are read and not counted. None: no
            padding.
    """

    padding: int | None = None

    def __call__(
        self, denoiser: Any, x0: Int64[Tensor, "rows length"], condition: Condition | None, rng: Random
    ) -> Float[Tensor, " rows"]:
        denoiser.process.check(x0)
        real = counted(x0, condition, self.padding)
        belief = denoiser(x0, torch.zeros(len(x0), dtype=torch.float64, device=x0.device), condition)
        miss = -belief.log_probabilities.gather(-1, x0[..., None])[..., 0]
        return torch.where(real, miss, 0.0).sum(1) / real.sum(1).clamp_min(1)
