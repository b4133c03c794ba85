"""kohya's scripts (sd-scripts, LyCORIS): names with underscores for dots.

    lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight      diffusers' names
    lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight                SDXL, the original names
    lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight                                 SD3, the original names
    lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight                     a text encoder

What a name means cannot be read from it, because names have underscores of their own. It is looked up among the names
of the network's layers.
"""

from __future__ import annotations

from unmelt.adapter.dialect.place import DENOISER, Dialect, Layers, Place, begin, own, underscored
from unmelt.adapter.dialect.sd3 import sd3
from unmelt.adapter.dialect.sgm import sgm
from unmelt.adapter.dialect.text_encoder import of_encoder

TEXT_ENCODERS = (("lora_te_", "te1"), ("lora_te1_", "te1"), ("lora_te2_", "te2"), ("lora_te3_", "te3"))


def places(layers: Layers) -> dict[str, Place]:
    """The layers by kohya's names, without their prefix.

    Args:
        layers: The network's layers.

    Returns:
        Places by name.
    """
    return underscored(sgm(layers) | sd3(layers)) | underscored(of_encoder(layers)) | underscored(own(layers))


DIALECT = Dialect(
    name="kohya",
    recognises=lambda keys: begin(keys, "lora_unet_", *(prefix for prefix, _ in TEXT_ENCODERS)),
    prefixes=(("lora_unet_", DENOISER), *TEXT_ENCODERS),
    places=places,
)
