"""Which tokens of a row are to be learned: not those that fill it up, and not those that are known anyway."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from unmelt.condition import Condition


def counted(
    x0: Int64[Tensor, "rows *shape"], condition: Condition | None, padding: int | None
) -> Bool[Tensor, "rows *shape"]:
    """True where a token melts and counts."""
    real = torch.ones_like(x0, dtype=torch.bool) if padding is None else x0 != padding
    return real if condition is None or condition.known_tokens is None else real & (condition.known_tokens < 0)
