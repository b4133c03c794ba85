"""ai-toolkit (and ComfyUI): `diffusion_model.` before the network's own names, or before the original ones.

    diffusion_model.transformer_blocks.0.attn.to_q.lora_A.weight
    diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_A.weight

What ai-toolkit writes for Flux has `transformer.` instead, and is diffusers' dialect.
"""

from __future__ import annotations

from unmelt.adapter.dialect.flux import bfl
from unmelt.adapter.dialect.place import DENOISER, Dialect, Layers, Place, begin, own
from unmelt.adapter.dialect.sd3 import sd3
from unmelt.adapter.dialect.sgm import sgm


def _places(layers: Layers) -> dict[str, Place]:
    return sgm(layers) | sd3(layers) | bfl(layers) | own(layers)


DIALECT = Dialect(
    name="ai-toolkit",
    recognises=lambda keys: begin(keys, "diffusion_model.", "model.diffusion_model."),
    prefixes=(
        ("diffusion_model.", DENOISER),
        ("model.diffusion_model.", DENOISER),
        ("text_encoders.clip_l.", "te1"),
        ("text_encoders.clip_g.", "te2"),
        ("text_encoders.t5xxl.", "te3"),
    ),
    places=_places,
)
