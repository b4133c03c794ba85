"""The contract of all denoisers: from x_t to a belief about x0."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition


@runtime_checkable
class Denoiser(Protocol):
    """`(x_t, t[rows], condition) -> Posterior`, and the process it undoes.

    A trained network, an exact mixture, a guided pair of denoisers and a user's own ten lines all meet this contract. A
    denoiser may also have `shape`, the shape of one row; `sample` needs it unless it is given a shape.
    """

    @property
    def process(self) -> Any:
        """The process that corrupted the data."""

    def __call__(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"], condition: Condition | None = None
    ) -> Any:
        """The belief about the clean data.

        Args:
            x_t: [rows, *shape], the noisy data.
            t: [rows] or finer, times in [0, 1].
            condition: What is known of each row; None for nothing.

        Returns:
            A posterior: `Point` for Gaussian processes, `Categorical` for tokens.
        """
