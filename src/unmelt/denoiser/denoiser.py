"""Anything that looks at x_t and says what it believes x0 to be."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition


@runtime_checkable
class Denoiser(Protocol):
    """`(x_t, t[rows], condition) -> Posterior`, and the process it undoes.

    The whole contract: a trained network, an exact mixture, a guided pair of denoisers and a user's own ten lines all
    meet it. `shape`, where a denoiser has it, is the shape of one row, so that `sample` need not be told.
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
