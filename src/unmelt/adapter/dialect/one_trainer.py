"""OneTrainer: kohya's names with other prefixes, and magnitudes of inputs in `.dora_scale`.

lora_transformer_transformer_blocks_0_attn_to_q.lora_down.weight     its own names: the network's, with underscores
lora_unet_down_blocks_0_resnets_0_conv1.dora_scale                   [1, inner, 1, 1] unless told otherwise
transformer.double_blocks.0.img_attn.qkv.0.lora_down.weight          the common format (OMI): the original names, with
                                                                     numbers for the parts of a fused layer
"""

from __future__ import annotations

from collections.abc import Iterable

from unmelt.adapter.dialect import kohya
from unmelt.adapter.dialect.flux import bfl
from unmelt.adapter.dialect.place import DENOISER, Dialect, Layers, Place, begin, own
from unmelt.adapter.dialect.sd3 import sd3
from unmelt.adapter.dialect.sgm import sgm
from unmelt.adapter.dialect.text_encoder import of_encoder

_NETWORKS = ("unet", "transformer", "prior")


def _places(layers: Layers) -> dict[str, Place]:
    original = sgm(layers) | sd3(layers) | bfl(layers)
    if "img_in" in original:
        original["img_in.proj"] = original["img_in"]
    return original | of_encoder(layers) | own(layers) | kohya.places(layers)


def _recognises(keys: Iterable[str]) -> bool:
    keys = list(keys)
    if begin(keys, "lora_transformer_", "lora_prior_", *(f"lora_{name}." for name in _NETWORKS), "clip_l.", "clip_g."):
        return True
    if begin(
        keys,
        "transformer.double_blocks.",
        "transformer.single_blocks.",
        "transformer.joint_blocks.",
        "unet.input_blocks.",
        "unet.output_",
    ):
        return True
    return begin(keys, "lora_unet_") and any(key.endswith(".dora_scale") for key in keys)


DIALECT = Dialect(
    name="OneTrainer",
    recognises=_recognises,
    prefixes=(
        *((f"lora_{name}{sign}", DENOISER) for name in _NETWORKS for sign in "_."),
        *((f"{name}.", DENOISER) for name in _NETWORKS),
        *kohya.TEXT_ENCODERS,
        *((prefix[:-1] + ".", part) for prefix, part in kohya.TEXT_ENCODERS),
        ("clip_l.", "te1"),
        ("clip_g.", "te2"),
        ("t5.", "t5"),
    ),
    places=_places,
)
