"""Import and export of diffusers checkpoints."""

from unmelt import config
from unmelt.interop.betas import Betas
from unmelt.interop.from_diffusers import from_diffusers
from unmelt.interop.to_diffusers import sampler_for_export, to_diffusers
from unmelt.interop.unet import DiffusersUNet

for _part in (Betas, DiffusersUNet):
    config.register(_part)

__all__ = ["Betas", "DiffusersUNet", "from_diffusers", "sampler_for_export", "to_diffusers"]
