"""The likelihood of tokens: the bound that training minimises, estimated from many draws, with its standard error.

    -log p(x0 | known) <= tokens * E[loss]

For masked diffusion the loss is the average over all orders of generating the unknown tokens, so that the same call
gives the any-order conditional likelihood of any part of a row given the rest. For autoregression nothing is random and
the result is exact.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.likelihood.estimate import Estimate
from unmelt.rng import Stream, fold


def bound_on_tokens(
    loss: Callable[..., Float[Tensor, " rows"]],
    denoiser: Any,
    x0: Int64[Tensor, "rows *shape"],
    condition: Condition | None = None,
    *,
    draws: int = 32,
    seed: int = 0,
) -> Estimate:
    """Estimate an upper bound on -log p of the tokens of each row that are not known.

    Args:
        loss: An objective in nats per token, such as `NELBO()`, `AnyOrder()` or `NextToken()`.
        denoiser: A denoiser that the objective accepts.
        x0: [rows, *shape], the tokens.
        condition: What is known of each row; tokens in `known_tokens` are not counted. None for nothing.
        draws: Evaluations of the loss, each of all rows at once. Their noise levels are stratified over the rows. The
            standard errors are those of independent draws, and so at most a little too large.
        seed: The seed of the draws.

    Returns:
        The bound in nats and its standard error, a number for each row, on the CPU.

    Raises:
        UsageError: If `draws` is not a whole number of at least 1.
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise UsageError(f"draws={draws!r}", "a whole number, at least 1", "draws=32")
    counts = torch.full((len(x0),), x0[0].numel(), device=x0.device)
    if condition is not None and condition.known_tokens is not None:
        counts = (condition.known_tokens < 0).flatten(1).sum(1)
    losses = torch.stack(
        [loss(denoiser, x0, condition, Stream(fold(seed, draw), x0.device)).double() for draw in range(draws)]
    )
    error = losses.std(0) / draws**0.5 if draws > 1 else torch.zeros_like(losses[0])
    return Estimate((losses.mean(0) * counts).cpu(), (error * counts).cpu())
