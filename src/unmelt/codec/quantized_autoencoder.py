"""An image autoencoder whose latents are tokens, so that masked diffusion paints too.

    image  ->  encoder  ->  round to a grid of levels (`finite_scalar.py`)  ->  decoder  ->  image

It is trained like an autoencoder of numbers, but without a KL term: the grid bounds the latents.
"""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.codec.autoencoder import check_sizes
from unmelt.codec.finite_scalar import FiniteScalar
from unmelt.codec.image_stages import ImageDecoder, ImageEncoder, coarse_sides
from unmelt.rng import Random


@final
@checked_init("um.codec.QuantizedAutoencoder")
class QuantizedAutoencoder(CallRepr, nn.Module):
    """Convolutional autoencoder with finite scalar quantisation: images in [0, 1] to a grid of tokens, and back.

    Args:
        channels: Of the images.
        levels: Levels of each dimension of a token; their product is the vocabulary.
        patch: Side of the squares that become one place of the finest grid, before anything is learned.
        widths: Channels on each grid, from the finest to the coarsest, each a multiple of 4.
        blocks: Residual blocks on each grid, each way.

    Raises:
        UsageError: If sizes do not fit one another.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        levels: Sequence[int] = (8, 5, 5, 5),
        patch: int = 2,
        widths: Sequence[int] = (64, 128),
        blocks: Sequence[int] = (1, 2),
    ) -> None:
        super().__init__()
        self.channels, self.levels, self.patch = channels, tuple(levels), patch
        self.widths, self.blocks = tuple(widths), tuple(blocks)
        check_sizes("QuantizedAutoencoder", self.widths, self.blocks, channels=channels, patch=patch)
        self.quantizer = FiniteScalar(self.levels)
        self.encoder = ImageEncoder(channels, len(self.levels), patch, self.widths, self.blocks)
        self.decoder = ImageDecoder(channels, len(self.levels), patch, self.widths, self.blocks)

    @property
    def vocabulary(self) -> int:
        """The number of tokens."""
        return self.quantizer.vocabulary

    @property
    def blank(self) -> int:
        """The token of the middle of the grid, which stands for a place that is not known yet."""
        middle = self.quantizer.quantize(self.quantizer.span.new_zeros(1, len(self.levels), 1))
        return int(self.quantizer.tokens(middle))

    @property
    def factor(self) -> int:
        """By what sides of images are divided."""
        return self.patch * 2 ** (len(self.widths) - 1)

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return coarse_sides(shape, self.channels, self.factor)

    def latents(self, x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows dims places_h places_w"]:
        """The points of the grid, with gradients.

        Args:
            x: [rows, channels, height, width], images in [0, 1].

        Returns:
            [rows, dims, height / factor, width / factor], in [-1, 1].

        Raises:
            UsageError: If the shape is not one that the autoencoder takes.
        """
        self.latent_shape(x.shape[1:])
        return self.quantizer.quantize(self.encoder(2 * x - 1))

    def reconstruct(self, z: Float[Tensor, "rows dims h w"]) -> Float[Tensor, "rows channels image_h image_w"]:
        """Images of points of the grid, not clamped.

        Args:
            z: [rows, dims, h, w], as `latents` has them.

        Returns:
            [rows, channels, height, width], in [0, 1] but for errors.
        """
        return (self.decoder(z) + 1) / 2

    def encode(
        self, x: Float[Tensor, "rows channels h w"], rng: Random | None = None
    ) -> Int64[Tensor, "rows places_h places_w"]:
        return self.quantizer.tokens(self.latents(x))

    def decode(self, z: Int64[Tensor, "rows h w"]) -> Float[Tensor, "rows channels image_h image_w"]:
        return self.reconstruct(self.quantizer.points(z)).float().clamp(0, 1)
