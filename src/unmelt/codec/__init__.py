"""Between data space and model space."""

from unmelt.codec.affine import Affine
from unmelt.codec.codec import Codec

__all__ = ["Affine", "Codec"]
