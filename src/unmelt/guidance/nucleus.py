"""Nucleus sampling (Holtzman et al., 2020): of each belief, the fewest tokens that hold a share `top_p` of it."""

from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.reshaped import Reshaped
from unmelt.posterior import Categorical


@final
class Nucleus(Reshaped):
    """1 keeps all; the likeliest token is always kept."""

    def __init__(self, denoiser: Denoiser, top_p: float) -> None:
        if not 0 < top_p <= 1:
            raise UsageError(f"top_p={top_p}", "a share above 0, up to 1", "top_p=0.9")
        self.denoiser, self.top_p = denoiser, top_p

    def change(
        self, belief: Categorical, x_t: Int64[Tensor, "rows *shape"], positions: Int64[Tensor, "rows n"] | None
    ) -> Categorical:
        if self.top_p == 1:
            return belief
        law, order = belief.probabilities.sort(dim=-1, descending=True, stable=True)
        enough = law.cumsum(-1) - law >= self.top_p  # those before it hold the share already
        dropped = torch.zeros_like(enough).scatter(-1, order, enough)
        return Categorical(belief.logits.masked_fill(dropped, -torch.inf))
