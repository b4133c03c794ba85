"""What training minimises.

loss = mean over rows of objective(denoiser, x0, condition, rng)
"""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.rng import Random


@runtime_checkable
class Objective(Protocol):
    """A loss for each row; the training loop takes the mean."""

    def __call__(
        self, denoiser: Any, x0: Float[Tensor, "rows *shape"], condition: Condition | None, rng: Random
    ) -> Float[Tensor, " rows"]:
        """The loss of each row.

        Args:
            denoiser: The denoiser to train.
            x0: [rows, *shape], clean data.
            condition: What is known of each row.
            rng: Source of randomness.

        Returns:
            [rows].
        """
