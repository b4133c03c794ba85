"""How many masks may stay at time s, and network calls until no more are left: what samplers that unmask share.

    allowed(s) = (masks of the row at t = 1) (1 - alpha(s));      calls until at most so many masks remain

A row that is ahead of its schedule waits. A step takes zero or more network calls.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unmelt.process import Mask
from unmelt.sampler.state import State


def masks_at_start(process: Mask, x: Tensor, t: Float[Tensor, " rows"]) -> Float64[Tensor, " rows"]:
    """How many masks rows would have at t = 1.

    Args:
        process: The process.
        x: The rows.
        t: The times at which they stand.

    Returns:
        The numbers, which need not be whole.
    """
    masks = process.masked(x).flatten(1).sum(1).to(t.device)
    total: Tensor = masks / (1 - process.schedule.alpha(t)).clamp_min(1e-12)
    return total


def unmask_until(
    process: Mask,
    state: State,
    s: Float[Tensor, " rows"],
    network_call: Callable[[State, Tensor], State],
) -> State:
    """Call a network until no row has more masks than are due at time s.

    Args:
        process: The process.
        state: The rows, which remember their `masks_at_start` as "total".
        s: The time to go to.
        network_call: (state, due) -> the state after one network call, in which every row has some masks fewer; `due`
            is how many masks of each row are too many.

    Returns:
        The state at s.
    """
    # Of the masks at t = 1, as many may stay as would still be masked at s; the sum forgives float64's rounding.
    allowed = (state.recall("total") * (1 - process.schedule.alpha(s)) + 1e-9).floor().long()
    while True:
        due = process.masked(state.x).flatten(1).sum(1) - allowed
        late = due > 0
        if not late.any():
            return state.moved(state.x, s, state.x0)
        state = network_call(state, due) if late.all() else state.put(late, network_call(state[late], due[late]))


def ended(process: Mask, x: Tensor, end_token: int | None) -> Tensor:
    """Rows with everything after an end-of-text token filled with it, where no mask is left before it.

    Args:
        process: The process.
        x: [rows, length], the rows.
        end_token: The token; None for no such token.

    Returns:
        The rows.
    """
    if end_token is None:
        return x
    no_mask_before = (~process.masked(x)).cummin(1).values
    after = ((x == end_token) & no_mask_before).cummax(1).values
    return torch.where(after, end_token, x)
