"""Constrained decoding: a belief without the tokens that a user's own rule does not allow.

Orders and paces rank by this belief: what may not be written is not believed.
"""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.token_transform import TokenTransform
from unmelt.posterior import Categorical


@final
@checked_init("um.guidance.AllowedTokens")
class AllowedTokens(TokenTransform):
    """A denoiser that gives probability 0 to the tokens that are not allowed.

    Args:
        denoiser: A denoiser of tokens.
        tokens: True for the allowed tokens: [vocabulary] for all positions, or [*shape, vocabulary]. Or a function
            from x_t to [*shape, vocabulary] or [rows, *shape, vocabulary], which may depend on the tokens so far.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        tokens: Bool[Tensor, "*shape vocabulary"] | Callable[[Tensor], Bool[Tensor, "*rows vocabulary"]],
    ) -> None:
        self.denoiser, self.tokens = denoiser, tokens

    def change(
        self, belief: Categorical, x_t: Int64[Tensor, "rows *shape"], positions: Int64[Tensor, "rows n"] | None
    ) -> Categorical:
        may = (self.tokens(x_t) if callable(self.tokens) else self.tokens).to(x_t.device)
        if may.ndim > 1 and positions is not None:
            rows = torch.arange(len(positions), device=positions.device)[:, None]
            may = may[positions] if may.ndim == 2 else may[rows, positions]
        if may.shape[-1] != belief.logits.shape[-1] or not may.any(-1).all():
            raise UsageError(
                f"a rule of shape {tuple(may.shape)}, under which {int((~may.any(-1)).sum())} positions have no token",
                f"at least one of {belief.logits.shape[-1]} tokens allowed everywhere",
                "torch.ones(vocabulary, dtype=torch.bool)",
            )
        may = may.expand(belief.logits.shape)
        return belief.changed(lambda logits, at: torch.where(at(may), logits, -torch.inf))
