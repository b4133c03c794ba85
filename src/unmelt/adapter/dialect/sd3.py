"""Names of the layers of Stable Diffusion 3 in its original code, from those of diffusers.

    joint_blocks.0.x_block.attn.qkv             transformer_blocks.0.attn.to_q, to_k, to_v
    joint_blocks.0.context_block.attn.qkv       transformer_blocks.0.attn.add_q_proj, add_k_proj, add_v_proj
    joint_blocks.0.x_block.attn2.qkv            transformer_blocks.0.attn2.to_q, to_k, to_v, in version 3.5
    final_layer.adaLN_modulation.1              norm_out.linear, with shift and scale in the other order

The last block's context is modulated by shift and scale alone, which are in the other order too.
"""

from dataclasses import replace

from unmelt.adapter.dialect.place import Layers, Place, stacked_places

_BLOCK = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "x_block.attn.proj": ("attn.to_out.0",),
    "x_block.attn2.proj": ("attn2.to_out.0",),
    "context_block.attn.proj": ("attn.to_add_out",),
    "x_block.mlp.fc1": ("ff.net.0.proj",),
    "x_block.mlp.fc2": ("ff.net.2",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",),
    "context_block.mlp.fc2": ("ff_context.net.2",),
    "x_block.adaLN_modulation.1": ("norm1.linear",),
    "context_block.adaLN_modulation.1": ("norm1_context.linear",),
}
_ENDS = {
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_MODULATION = "context_block.adaLN_modulation.1"


def sd3(layers: Layers) -> dict[str, Place]:
    """The layers of an SD3 transformer by their original names.

    Args:
        layers: The layers by diffusers' names.

    Returns:
        Places; none for other networks.
    """
    if "pos_embed.proj" not in layers or "transformer_blocks.0.attn.add_q_proj" not in layers:
        return {}
    found = {name: Place(layers=(layer,)) for name, layer in _ENDS.items() if layer in layers}
    found |= stacked_places(layers, "joint_blocks", "transformer_blocks", _BLOCK)
    for name, place in found.items():
        block = place.layers[0].removesuffix(".norm1_context.linear")
        is_last = name.endswith(_MODULATION) and f"{block}.attn.to_add_out" not in layers
        if is_last or name == "final_layer.adaLN_modulation.1":
            found[name] = replace(place, swapped=True)
    return found
