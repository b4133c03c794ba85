"""Networks, ignorant of diffusion: `backbone(x, level, condition)` returns something of x's shape."""

from unmelt.backbone.dit import DiT
from unmelt.backbone.frame_transformer import FrameTransformer
from unmelt.backbone.mlp import MLP
from unmelt.backbone.transformer import Transformer
from unmelt.backbone.unet import UNet

__all__ = ["MLP", "DiT", "FrameTransformer", "Transformer", "UNet"]
