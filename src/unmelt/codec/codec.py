"""The two directions between data and what a model sees."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from unmelt.rng import Random


@runtime_checkable
class Codec(Protocol):
    """Encodes data for the model, decodes what the model makes. Rows are independent, and come back in order.

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
            shape: Of one row of data.

        Returns:
            The shape of its encoding.
        """


@runtime_checkable
class Bijection(Codec, Protocol):
    """A codec that loses nothing: log densities of latents are log densities of data, up to `log_det`."""

    def log_det(self, dim: int) -> float:
        """log |dz / dx|, which a log density gains when it is stated in data space.

        Args:
            dim: Numbers in a row.

        Returns:
            The logarithm, in nats.
        """
