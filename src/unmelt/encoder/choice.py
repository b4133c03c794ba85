"""The encoder of captions, by a name that a command line can give."""

from unmelt.encoder.hashed_captions import HashedCaptionEncoder
from unmelt.encoder.language_model import LanguageModelEncoder

WORDS = "words"
"""The name of the encoder that needs no language model."""


def caption_encoder(name: str, context: bool = False) -> HashedCaptionEncoder | LanguageModelEncoder:
    """Make an encoder of captions.

    Args:
        name: "words" for hashed words; else the folder or .gguf file of a language model, whose last states are used.
        context: Whether hashed words have those around them; see `HashedCaptionEncoder`.

    Returns:
        The encoder.
    """
    return HashedCaptionEncoder(context) if name == WORDS else LanguageModelEncoder(name)
