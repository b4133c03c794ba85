"""Models of other libraries in, and this one's models out: diffusers, transformers, ONNX."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.betas import Betas
    from unmelt.interop.canvas_denoiser import CanvasDenoiser, CanvasNetwork
    from unmelt.interop.diffusers_codec import DiffusersCodec, codec_from_diffusers
    from unmelt.interop.from_diffusers import from_diffusers
    from unmelt.interop.from_transformers import from_transformers
    from unmelt.interop.language_model import LanguageModel, read_language_model
    from unmelt.interop.language_network import LanguageNetwork
    from unmelt.interop.to_diffusers import sampler_for_export, to_diffusers
    from unmelt.interop.to_onnx import to_onnx
    from unmelt.interop.unet import DiffusersUNet

__all__ = [
    "Betas",
    "CanvasDenoiser",
    "CanvasNetwork",
    "DiffusersCodec",
    "DiffusersUNet",
    "LanguageModel",
    "LanguageNetwork",
    "codec_from_diffusers",
    "from_diffusers",
    "from_transformers",
    "read_language_model",
    "sampler_for_export",
    "to_diffusers",
    "to_onnx",
]

publish(__name__)
