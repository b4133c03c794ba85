"""Networks of diffusers' own classes as parts of a model: one class a file."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.network.autoencoder import DiffusersCodec, codec_from_diffusers
    from unmelt.interop.network.conditional_unet import DiffusersConditionalUNet
    from unmelt.interop.network.control import DiffusersControlNet, DiffusersT2IAdapter
    from unmelt.interop.network.dit import DiffusersDiT
    from unmelt.interop.network.flux2 import DiffusersFlux2
    from unmelt.interop.network.stable_diffusion_3 import DiffusersSD3
    from unmelt.interop.network.unet import DiffusersUNet
    from unmelt.interop.network.z_image import DiffusersZImage

__all__ = [
    "DiffusersCodec",
    "DiffusersConditionalUNet",
    "DiffusersControlNet",
    "DiffusersDiT",
    "DiffusersFlux2",
    "DiffusersSD3",
    "DiffusersT2IAdapter",
    "DiffusersUNet",
    "DiffusersZImage",
    "codec_from_diffusers",
]

publish(__name__)
