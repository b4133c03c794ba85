"""A network that reads a context, made of one that reads none; to begin with it computes the same.

    W [x, context] = W_x x + 0 context

The weights of the new inputs are zero, so that they have no influence before they are trained, but a gradient.
"""

from typing import Any

import torch
from torch import nn

from unmelt.errors import UsageError

INTO = "into.weight"
"""The layer that x, with its context after it, goes into."""


def widened(state: dict[str, torch.Tensor], wider: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    """The weights of a network for a network that also reads a context.

    Args:
        state: Weights of the network, or of a denoiser that holds it.
        wider: The network, or the denoiser, made with `context_channels`.
        prefix: Where the network is in the denoiser, such as "backbone.".

    Returns:
        Weights of the wider one, under which it computes the same whatever the context.

    Raises:
        UsageError: If the two differ in more than that.
    """
    found: dict[str, Any] = {}
    for name, weight in wider.state_dict().items():
        old = state.get(name)
        if old is not None and old.shape == weight.shape:
            found[name] = old
        elif old is None and name.startswith(prefix) and name.endswith("null_context"):
            found[name] = torch.zeros_like(weight)
        elif old is not None and name == prefix + INTO and old.shape[1] < weight.shape[1]:
            found[name] = torch.zeros_like(weight)
            found[name][:, : old.shape[1]] = old
        else:
            raise UsageError(f"a network whose {name} is of another shape", "one that differs in its context alone", "")
    return found
