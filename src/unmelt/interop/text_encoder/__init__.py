"""Text encoders of pipelines: prompts as each kind of network was trained to read them."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.text_encoder.chat import ChatText
    from unmelt.interop.text_encoder.stable_diffusion import StableDiffusionText
    from unmelt.interop.text_encoder.stable_diffusion_3 import StableDiffusion3Text
    from unmelt.interop.text_encoder.stable_diffusion_xl import StableDiffusionXLText

__all__ = [
    "ChatText",
    "StableDiffusion3Text",
    "StableDiffusionText",
    "StableDiffusionXLText",
]

publish(__name__)
