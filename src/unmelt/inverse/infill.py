"""Filling in tokens: believe what is known, wherever it stands, and show it to the denoiser.

    belief = known ? that token : p(x0 | x_t with the known tokens in place)

Under masks a token that is there says exactly that it is that token, so this is the true conditional, and infilling is
the native task of a masked model. Under other noise a denoiser takes what it is shown for one more token that may have
melted; it then believes known tokens less than they deserve.
"""

from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.posterior import Categorical


@final
class Infill(DenoiserWrapper):
    """A denoiser that is certain of `condition.known_tokens`."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    def __call__(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        if condition is None or condition.known_tokens is None:
            return self.denoiser(x_t, t, condition)
        tokens = condition.known_tokens
        if tokens.shape != x_t.shape:
            raise UsageError(
                f"known tokens of shape {tuple(tokens.shape)} for rows of shape {tuple(x_t.shape)}",
                "one for each place, -1 where none is known",
                "torch.full_like(x, -1)",
            )
        known = (tokens >= 0)[..., None]
        belief = self.denoiser(torch.where(tokens >= 0, tokens, x_t), t, condition)
        here = torch.arange(self.process.vocabulary, device=x_t.device) == tokens[..., None]
        sure = torch.where(here, 0.0, -torch.inf).to(belief.logits)
        return Categorical(torch.where(known, sure, belief.logits))
