"""A squared error whose gradient has a bounded size whatever the error's: the loss of students.

    |e|^2 / constant(|e|^2 + c)^p,      |e|^2 the mean over dimensions

p = 0 is the squared error, p = 1/2 behaves like the pseudo-Huber loss of consistency models (Song and Dhariwal, 2024),
p = 1 gives every row the same weight (MeanFlow: Geng et al., 2025, section 4.3).
"""

from jaxtyping import Float
from torch import Tensor


def adaptive_loss(error: Float[Tensor, "rows *shape"], power: float, floor: float = 1e-3) -> Float[Tensor, " rows"]:
    """The loss of each row.

    Args:
        error: [rows, *shape], difference to the target.
        power: p above.
        floor: c above.

    Returns:
        [rows].
    """
    square = (
        error.float().square().flatten(1).mean(1) if error.dtype.itemsize < 4 else error.square().flatten(1).mean(1)
    )
    return square / (square.detach() + floor) ** power
