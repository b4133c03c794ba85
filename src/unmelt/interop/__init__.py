"""Models of other libraries in, and this one's models out: diffusers, transformers, ONNX."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.betas import Betas
    from unmelt.interop.canvas_denoiser import CanvasDenoiser, CanvasNetwork
    from unmelt.interop.chat_text import ChatText
    from unmelt.interop.conditional_unet import DiffusersConditionalUNet
    from unmelt.interop.diffusers_codec import DiffusersCodec, codec_from_diffusers
    from unmelt.interop.dit import DiffusersDiT
    from unmelt.interop.flux2 import DiffusersFlux2
    from unmelt.interop.from_diffusers import from_diffusers
    from unmelt.interop.from_transformers import from_transformers
    from unmelt.interop.language_model import LanguageModel, read_language_model
    from unmelt.interop.language_network import LanguageNetwork
    from unmelt.interop.load_diffusers import load_diffusers
    from unmelt.interop.pipeline_times import pipeline_times
    from unmelt.interop.resolution_shift import ResolutionShift
    from unmelt.interop.stable_diffusion_3 import DiffusersSD3
    from unmelt.interop.stable_diffusion_3_text import StableDiffusion3Text
    from unmelt.interop.stable_diffusion_text import StableDiffusionText
    from unmelt.interop.stable_diffusion_xl_text import StableDiffusionXLText
    from unmelt.interop.to_diffusers import sampler_for_export, to_diffusers
    from unmelt.interop.to_onnx import to_onnx
    from unmelt.interop.unet import DiffusersUNet
    from unmelt.interop.z_image import DiffusersZImage

__all__ = [
    "Betas",
    "CanvasDenoiser",
    "CanvasNetwork",
    "ChatText",
    "DiffusersCodec",
    "DiffusersConditionalUNet",
    "DiffusersDiT",
    "DiffusersFlux2",
    "DiffusersSD3",
    "DiffusersUNet",
    "DiffusersZImage",
    "LanguageModel",
    "LanguageNetwork",
    "ResolutionShift",
    "StableDiffusion3Text",
    "StableDiffusionText",
    "StableDiffusionXLText",
    "codec_from_diffusers",
    "from_diffusers",
    "from_transformers",
    "load_diffusers",
    "pipeline_times",
    "read_language_model",
    "sampler_for_export",
    "to_diffusers",
    "to_onnx",
]

publish(__name__)
