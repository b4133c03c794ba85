"""Codecs: between data space and model space."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.codec.affine import Affine
    from unmelt.codec.autoencoder import Autoencoder
    from unmelt.codec.bpe import BPE
    from unmelt.codec.bytes import Bytes
    from unmelt.codec.codec import Bijection, Codec
    from unmelt.codec.mel import Mel
    from unmelt.codec.pretrained_tokenizer import PretrainedTokenizer
    from unmelt.codec.quantized_autoencoder import QuantizedAutoencoder
    from unmelt.codec.standardize import Standardize
    from unmelt.codec.symbols import Symbols
    from unmelt.codec.tokenizer import Tokenizer
    from unmelt.codec.vocoder import Vocoder

__all__ = [
    "BPE",
    "Affine",
    "Autoencoder",
    "Bijection",
    "Bytes",
    "Codec",
    "Mel",
    "PretrainedTokenizer",
    "QuantizedAutoencoder",
    "Standardize",
    "Symbols",
    "Tokenizer",
    "Vocoder",
]

publish(__name__)
