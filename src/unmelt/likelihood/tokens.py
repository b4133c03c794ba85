"""How probable tokens are: the bound that training minimises, drawn often enough to be a number, with its error.

    -log p(x0 | known) <= tokens * E[loss]

For masks the loss is the average over all orders of writing what is not known, so that the same call is the any-order
conditional likelihood of any part given any other. For autoregression nothing is random, and it is exact.
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
    """Nats for each row, an upper limit on -log p of its tokens that are not known, with standard errors.

    loss    an objective in nats a token, such as `NELBO()`, `AnyOrder()` or `NextToken()`
    draws   each of all rows at once, spread over noise levels; the errors are those of independent draws, and at most
            a little too large
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise UsageError(f"draws={draws!r}", "a whole number, at least 1", "draws=32")
    counts = torch.full((len(x0),), x0[0].numel(), device=x0.device)
    if condition is not None and condition.known_tokens is not None:
        counts = (condition.known_tokens < 0).flatten(1).sum(1)
    each = torch.stack(
        [loss(denoiser, x0, condition, Stream(fold(seed, draw), x0.device)).double() for draw in range(draws)]
    )
    spread = each.std(0) / draws**0.5 if draws > 1 else torch.zeros_like(each[0])
    return Estimate((each.mean(0) * counts).cpu(), (spread * counts).cpu())
