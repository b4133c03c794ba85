"""Import and export of diffusers checkpoints."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.betas import Betas
    from unmelt.interop.chat_text import ChatText
    from unmelt.interop.conditional_unet import DiffusersConditionalUNet
    from unmelt.interop.diffusers_codec import DiffusersCodec, codec_from_diffusers
    from unmelt.interop.dit import DiffusersDiT
    from unmelt.interop.flux2 import DiffusersFlux2
    from unmelt.interop.from_diffusers import from_diffusers
    from unmelt.interop.load_diffusers import load_diffusers
    from unmelt.interop.pipeline_times import pipeline_times
    from unmelt.interop.resolution_shift import ResolutionShift
    from unmelt.interop.stable_diffusion_3 import DiffusersSD3
    from unmelt.interop.stable_diffusion_3_text import StableDiffusion3Text
    from unmelt.interop.stable_diffusion_text import StableDiffusionText
    from unmelt.interop.stable_diffusion_xl_text import StableDiffusionXLText
    from unmelt.interop.to_diffusers import sampler_for_export, to_diffusers
    from unmelt.interop.unet import DiffusersUNet
    from unmelt.interop.z_image import DiffusersZImage

__all__ = [
    "Betas",
    "ChatText",
    "DiffusersCodec",
    "DiffusersConditionalUNet",
    "DiffusersDiT",
    "DiffusersFlux2",
    "DiffusersSD3",
    "DiffusersUNet",
    "DiffusersZImage",
    "ResolutionShift",
    "StableDiffusion3Text",
    "StableDiffusionText",
    "StableDiffusionXLText",
    "codec_from_diffusers",
    "from_diffusers",
    "load_diffusers",
    "pipeline_times",
    "sampler_for_export",
    "to_diffusers",
]

publish(__name__)
