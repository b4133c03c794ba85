"""Networks in another precision than the data that are sampled: what goes in is cast to that of the weights.

Samplers and beliefs stay in the precision of x. A network in half or double precision is called in its own, with noise
levels in float32 at least, because embeddings of levels tell levels apart that half precision does not.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unmelt.condition import Condition


def call_backbone(backbone: nn.Module, x: Tensor, level: Tensor, condition: Condition | None, *more: Tensor) -> Tensor:
    """Call a network on numbers in the precision of its weights.

    Args:
        backbone: Network called as backbone(x, level, condition, *more).
        x: [rows, *shape], what it sees.
        level: [rows, *axes], noise levels.
        condition: What is known of each row.
        more: Further levels.

    Returns:
        What it returns, in the precision of the weights.
    """
    dtype = next((weight.dtype for weight in backbone.parameters() if weight.is_floating_point()), x.dtype)
    if dtype == x.dtype:
        return backbone(x, level, condition, *more)
    fine = torch.promote_types(dtype, torch.float32)
    levels = [each.to(fine) for each in (level, *more)]
    return backbone(x.to(dtype), levels[0], _cast(condition, dtype), *levels[1:])


def _cast(condition: Condition | None, dtype: torch.dtype) -> Condition | None:
    """A condition whose features are in a precision."""
    if condition is None:
        return None
    features: dict[str, Any] = {name: getattr(condition, name) for name in ("vector", "sequence", "context")}
    features = {name: None if value is None else value.to(dtype) for name, value in features.items()}
    own = {name: each.to(dtype) if each.is_floating_point() else each for name, each in condition.extra.items()}
    return replace(condition, **features, extra=own)
