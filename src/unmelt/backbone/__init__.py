"""Networks, ignorant of diffusion: `backbone(x, level, condition)` gives back something of x's shape."""

from unmelt.backbone.dit import DiT
from unmelt.backbone.mlp import MLP
from unmelt.backbone.transformer import Transformer
from unmelt.backbone.unet import UNet

__all__ = ["MLP", "DiT", "Transformer", "UNet"]
