"""What training minimises."""

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
    ) -> Float[Tensor, " rows"]: ...
