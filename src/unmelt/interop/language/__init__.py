"""Language models of transformers as denoisers of tokens: masked, diffusion and causal ones."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.language.block_network import BlockLanguageNetwork
    from unmelt.interop.language.canvas import CanvasDenoiser, CanvasNetwork
    from unmelt.interop.language.from_transformers import from_transformers
    from unmelt.interop.language.model import LanguageModel, read_language_model
    from unmelt.interop.language.network import LanguageNetwork

__all__ = [
    "BlockLanguageNetwork",
    "CanvasDenoiser",
    "CanvasNetwork",
    "LanguageModel",
    "LanguageNetwork",
    "from_transformers",
    "read_language_model",
]

publish(__name__)
