"""From text to a sequence that a network attends to: captions of images, instructions, lyrics."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.encoder.characters import CharacterEncoder
    from unmelt.encoder.choice import caption_encoder
    from unmelt.encoder.encoder import EncodedMap, EncodedText, EncodedVector, TextEncoder
    from unmelt.encoder.hashed_captions import HashedCaptionEncoder
    from unmelt.encoder.language_model import LanguageModelEncoder
    from unmelt.encoder.layout import LayoutEncoder

__all__ = [
    "CharacterEncoder",
    "EncodedMap",
    "EncodedText",
    "EncodedVector",
    "HashedCaptionEncoder",
    "LanguageModelEncoder",
    "LayoutEncoder",
    "TextEncoder",
    "caption_encoder",
]

publish(__name__)
