"""Infilling of tokens: be certain of the known tokens, wherever they are, and show them to the denoiser.

    belief = known ? that token : p(x0 | x_t with the known tokens in place)

Under masking a visible token is certain, so this is the true conditional distribution, and infilling is the native task
of a masked model. Under other noise a denoiser assumes that a token it is shown may have melted, and so trusts the
known tokens less than it should.
"""

from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.posterior import Categorical


@final
@checked_init("um.inverse.Infill")
class Infill(DenoiserWrapper):
    """A denoiser that is certain of `condition.known_tokens`.

    Args:
        denoiser: A denoiser of tokens.
    """

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
                "a token for each position, -1 where it is unknown",
                "torch.full_like(x, -1)",
            )
        known = (tokens >= 0)[..., None]
        belief = self.denoiser(torch.where(tokens >= 0, tokens, x_t), t, condition)
        is_token = torch.arange(self.process.vocabulary, device=x_t.device) == tokens[..., None]
        certain = torch.where(is_token, 0.0, -torch.inf).to(belief.logits)
        return belief.changed(lambda logits, at: torch.where(at(known), at(certain), logits))
