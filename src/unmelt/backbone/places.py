"""A head at some positions of each row, called with rows first.

    head(h[where])      one line of places, in which a layer no longer knows whose they are
    head_at(...)        [rows, most places of a row]: what differs by row, such as the scale of an adapter, still does

Rows with fewer places than another compute some in vain. Of a block of each row there are as many, but for the last.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def head_at(
    head: Callable[[Tensor], Tensor], h: Float[Tensor, "rows n width"], where: Bool[Tensor, "rows n"]
) -> Float[Tensor, "places features"]:
    """The head at places.

    Args:
        head: Called with [rows, n, width].
        h: Features of every position.
        where: True at the places.

    Returns:
        The head's outputs, row by row.
    """
    count = where.sum(1, keepdim=True)
    most = int(count.max())
    order = where.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    made = head(h.gather(1, order[..., None].expand(-1, -1, h.shape[2])))
    return made[torch.arange(most, device=h.device) < count]
