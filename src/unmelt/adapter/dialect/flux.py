"""The original names of Flux (Black Forest Labs), in which queries, keys and values are one matrix.

    double_blocks.0.img_attn.qkv    transformer_blocks.0.attn.to_q, to_k, to_v
    double_blocks.0.txt_attn.qkv    transformer_blocks.0.attn.add_q_proj, add_k_proj, add_v_proj
    single_blocks.0.linear1         single_transformer_blocks.0.attn.to_q, to_k, to_v, and proj_mlp
    final_layer.adaLN_modulation.1  norm_out.linear, with shift and scale in the other order

With dots, or with underscores as kohya's scripts write them after `lora_unet_`.
"""

from __future__ import annotations

from collections.abc import Iterable

from unmelt.adapter.dialect.place import DENOISER, Dialect, Layers, Place, begin, own, stacked_places, underscored
from unmelt.adapter.dialect.text_encoder import of_encoder

_DOUBLE = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
}
_SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
}
_ENDS = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_SWAPPED = ("final_layer.adaLN_modulation.1",)
_STACKS = (("double_blocks", "transformer_blocks", _DOUBLE), ("single_blocks", "single_transformer_blocks", _SINGLE))


def bfl(layers: Layers) -> dict[str, Place]:
    """The layers of a Flux transformer by their original names.

    Args:
        layers: The layers by diffusers' names.

    Returns:
        Places; none for other networks. "qkv.0" and so on are the parts of a fused layer, as OneTrainer calls them.
    """
    if not any(name.startswith("single_transformer_blocks.") for name in layers):
        return {}
    found = {name: Place(layers=(layer,), swapped=name in _SWAPPED) for name, layer in _ENDS.items() if layer in layers}
    for theirs, ours, table in _STACKS:
        found |= stacked_places(layers, theirs, ours, table)
    return found


def _places(layers: Layers) -> dict[str, Place]:
    original = bfl(layers)
    encoder = of_encoder(layers)
    return underscored(encoder) | underscored(original) | encoder | original | own(layers)


def _recognises(keys: Iterable[str]) -> bool:
    marks = ("double_blocks", "single_blocks")
    prefixes = tuple(prefix for prefix, _ in DIALECT.prefixes)
    return begin(keys, *(f"{prefix}{mark}" for prefix in prefixes for mark in marks))


DIALECT = Dialect(
    name="flux",
    recognises=_recognises,
    prefixes=(
        ("lora_unet_", DENOISER),
        ("diffusion_model.", DENOISER),
        ("model.diffusion_model.", DENOISER),
        ("base_model.model.", DENOISER),
        ("transformer.", DENOISER),
        ("lora_te1_", "te1"),
        ("lora_te_", "te1"),
        ("lora_te2_", "te2"),
        ("text_encoders.clip_l.transformer.", "te1"),
        ("text_encoders.t5xxl.transformer.", "te2"),
        ("text_encoder.", "te1"),
        ("", DENOISER),
    ),
    places=_places,
)
