"""Networks, ignorant of diffusion: `backbone(x, level, condition)` returns something of x's shape."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.backbone.dit import DiT
    from unmelt.backbone.frame_mlp import FrameMLP
    from unmelt.backbone.frame_transformer import FrameTransformer
    from unmelt.backbone.frame_unet import FrameUNet
    from unmelt.backbone.joint_dit import JointDiT
    from unmelt.backbone.mlp import MLP
    from unmelt.backbone.speech_dit import SpeechDiT
    from unmelt.backbone.standardized_vector import StandardizedVector
    from unmelt.backbone.token_head import TokenHead
    from unmelt.backbone.transformer import Transformer
    from unmelt.backbone.unet import UNet

__all__ = [
    "MLP",
    "DiT",
    "FrameMLP",
    "FrameTransformer",
    "FrameUNet",
    "JointDiT",
    "SpeechDiT",
    "StandardizedVector",
    "TokenHead",
    "Transformer",
    "UNet",
]

publish(__name__)
