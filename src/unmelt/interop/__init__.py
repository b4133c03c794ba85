"""Import and export of diffusers checkpoints."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.betas import Betas
    from unmelt.interop.conditional_unet import DiffusersConditionalUNet
    from unmelt.interop.diffusers_codec import DiffusersCodec, codec_from_diffusers
    from unmelt.interop.dit import DiffusersDiT
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

__all__ = [
    "Betas",
    "DiffusersCodec",
    "DiffusersConditionalUNet",
    "DiffusersDiT",
    "DiffusersSD3",
    "DiffusersUNet",
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
