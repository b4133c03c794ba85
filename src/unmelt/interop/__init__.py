"""Checkpoints of diffusers, in and out."""

from unmelt import config
from unmelt.interop.betas import Betas
from unmelt.interop.from_diffusers import from_diffusers
from unmelt.interop.to_diffusers import chosen, to_diffusers
from unmelt.interop.unet import DiffusersUNet

for _part in (Betas, DiffusersUNet):
    config.register(_part)

__all__ = ["Betas", "DiffusersUNet", "chosen", "from_diffusers", "to_diffusers"]
