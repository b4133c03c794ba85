"""Which tokens of a row the loss counts: neither padding nor known tokens."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from unmelt.condition import Condition


def counted(
    x0: Int64[Tensor, "rows *shape"], condition: Condition | None, padding: int | None
) -> Bool[Tensor, "rows *shape"]:
    """Where a token may melt and is counted in the loss.

    Args:
        x0: [rows, *shape], the tokens.
        condition: What is known of each row; its `known_tokens` are not counted. None for nothing.
        padding: The token that fills rows up; None for no padding.

    Returns:
        [rows, *shape], True where a token is counted.
    """
    real = torch.ones_like(x0, dtype=torch.bool) if padding is None else x0 != padding
    return real if condition is None or condition.known_tokens is None else real & (condition.known_tokens < 0)
