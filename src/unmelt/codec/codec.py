"""The interface of codecs, between data space and model space."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Codec(Protocol):
    """Encodes data for the model and decodes its samples. Rows are independent and keep their order."""

    def encode(self, x: Tensor) -> Tensor:
        """From data space to model space.

        Args:
            x: [rows, ...], data.

        Returns:
            [rows, ...], what the model sees.
        """

    def decode(self, z: Tensor) -> Tensor:
        """From model space to data space: the inverse of `encode` on the data, as nearly as the codec can.

        Args:
            z: [rows, ...], what the model makes.

        Returns:
            [rows, ...], data.
        """
