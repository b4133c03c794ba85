"""The two directions between data and what a model sees."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Codec(Protocol):
    """Encode data for the model, decode what the model makes. Rows are independent, and come back in order."""

    def encode(self, x: Tensor) -> Tensor:
        """From data space to model space."""

    def decode(self, z: Tensor) -> Tensor:
        """From model space to data space: the inverse of `encode` on the data, as nearly as the codec can."""
