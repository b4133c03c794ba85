"""The interface of codecs, between data space and model space."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from unmelt.rng import Random


@runtime_checkable
class Codec(Protocol):
    """Encodes data for the model and decodes its samples. Rows are independent and keep their order.

    A codec that is an `nn.Module` (an autoencoder) has its weights saved with the model; they are not trained while the
    denoiser is.
    """

    def encode(self, x: Tensor, rng: Random | None = None) -> Tensor:
        """From data space to model space.

        Args:
            x: [rows, *shape], data.
            rng: For codecs that draw from a distribution over latents; None gives its mean.

        Returns:
            [rows, *latent_shape(shape)].
        """

    def decode(self, z: Tensor) -> Tensor:
        """From model space to data space: the inverse of `encode` on the data, as nearly as the codec can.

        Args:
            z: [rows, *latent_shape].

        Returns:
            [rows, *shape].
        """

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of one encoded row.

        Args:
            shape: The shape of one row of data.

        Returns:
            The shape of its encoding.
        """


@runtime_checkable
class Bijection(Codec, Protocol):
    """An invertible codec: log-densities in model space become log-densities in data space by adding `log_det`."""

    def log_det(self, dim: int) -> float:
        """log |dz / dx| of a row, which converts a log-density in model space to one in data space by addition.

        Args:
            dim: Numbers in a row.

        Returns:
            Nats.
        """
