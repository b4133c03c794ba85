"""Nucleus sampling (Holtzman et al., 2020): draw from the fewest tokens whose probabilities sum to at least `top_p`.

Orders and paces rank by the belief as it was, with its tail.
"""

from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.token_transform import TokenTransform
from unmelt.posterior import Categorical


def check_top_p(top_p: float) -> None:
    """Refuse what is no share.

    Args:
        top_p: Probability to keep.

    Raises:
        UsageError: If it is not above 0 and up to 1.
    """
    if not 0 < top_p <= 1:
        raise UsageError(f"top_p={top_p}", "a share above 0, up to 1", "top_p=0.9")


def nucleus(logits: Float[Tensor, "*places vocabulary"], top_p: float) -> Float[Tensor, "*places vocabulary"]:
    """Logits in which all tokens outside of the nucleus are ruled out.

    Args:
        logits: Logits of the belief.
        top_p: Probability to keep. The likeliest token is always kept.

    Returns:
        The logits, -inf outside of the nucleus.
    """
    law, order = Categorical(logits).probabilities.sort(dim=-1, descending=True, stable=True)
    beyond = law.cumsum(-1) - law >= top_p  # likelier tokens sum to top_p already
    dropped = torch.zeros_like(beyond).scatter(-1, order, beyond)
    return logits.masked_fill(dropped, -torch.inf)


@final
@checked_init("um.guidance.TopP")
class TopP(TokenTransform):
    """A denoiser of tokens that are drawn from the nucleus of its beliefs.

    Args:
        denoiser: A denoiser of tokens.
        top_p: Probability to keep, above 0 and up to 1; 1 keeps all tokens. The likeliest token is always kept.

    Raises:
        UsageError: If `top_p` is not above 0 and up to 1.
    """

    def __init__(self, denoiser: Denoiser, top_p: float) -> None:
        check_top_p(top_p)
        self.denoiser, self.top_p = denoiser, top_p

    def change(
        self, belief: Categorical, x_t: Int64[Tensor, "rows *shape"], positions: Int64[Tensor, "rows n"] | None
    ) -> Categorical:
        if self.top_p == 1:
            return belief
        return belief.redrawn(lambda logits: nucleus(logits, self.top_p))
