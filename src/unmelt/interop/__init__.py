"""Models of other libraries in, and this one's models out: diffusers, ONNX."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.betas import Betas
    from unmelt.interop.diffusers_codec import DiffusersCodec, codec_from_diffusers
    from unmelt.interop.from_diffusers import from_diffusers
    from unmelt.interop.to_diffusers import sampler_for_export, to_diffusers
    from unmelt.interop.to_onnx import to_onnx
    from unmelt.interop.unet import DiffusersUNet

__all__ = [
    "Betas",
    "DiffusersCodec",
    "DiffusersUNet",
    "codec_from_diffusers",
    "from_diffusers",
    "sampler_for_export",
    "to_diffusers",
    "to_onnx",
]

publish(__name__)
