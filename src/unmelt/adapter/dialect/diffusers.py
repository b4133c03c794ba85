"""diffusers: the network's own names, after `unet.` or `transformer.` in what a pipeline saves.

    now          unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight
    until 2023   unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight

A network's `save_lora_adapter` writes no prefix.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from unmelt.adapter.dialect import peft
from unmelt.adapter.dialect.keys import split
from unmelt.adapter.dialect.layer_change import LayerChange
from unmelt.adapter.dialect.place import DENOISER, Dialect, Layers, Place, own
from unmelt.adapter.dialect.settings import METADATA
from unmelt.adapter.dialect.text_encoder import of_encoder

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


def processors(layers: Layers) -> dict[str, Place]:
    """The layers of attention by the names that they had as attention processors.

    Args:
        layers: The network's layers.

    Returns:
        Places of the layers that attention has.
    """
    found: dict[str, Place] = {}
    for name in layers:
        last = next((each for each in _ATTENTION if name.endswith(f".{each}")), None)
        if last is not None:
            place, stem = Place(layers=(name,)), name.removesuffix(f".{last}")
            short = last.removesuffix(".0")
            found |= {f"{stem}.processor.{short}": place, f"{stem}.{short}": place}
    return found


def _places(layers: Layers) -> dict[str, Place]:
    return processors(layers) | of_encoder(layers) | own(layers)


def _recognises(keys: Iterable[str]) -> bool:
    return any((found := split(key)) is not None and found[1] in ("A", "B") for key in keys)


DIALECT = Dialect(
    name="diffusers",
    recognises=_recognises,
    prefixes=(
        ("unet.", DENOISER),
        ("transformer.", DENOISER),
        ("text_encoder.", "te1"),
        ("text_encoder_2.", "te2"),
        ("text_encoder_3.", "te3"),
        ("", DENOISER),
    ),
    places=_places,
)


def file_of(
    changes: Mapping[str, LayerChange], layers: Layers, prefix: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """An adapter as a pipeline saves it.

    In the file alpha is the rank, and B is multiplied by what alpha / rank was, for readers that know no settings.

    Args:
        changes: The changes by the layer's name.
        layers: The network's layers.
        prefix: "unet." or "transformer.".

    Returns:
        The tensors by their keys, and the fields of the header.

    Raises:
        UsageError: If magnitudes are those of inputs, which diffusers cannot load.
    """
    plain = {
        name: replace(change, B=change.B * (change.alpha / change.rank), alpha=float(change.rank))
        for name, change in changes.items()
    }
    settings = {f"{prefix}{name}": value for name, value in peft.settings_of(plain).items()}
    return peft.tensors_of(plain, layers, prefix), {"format": "pt", METADATA: json.dumps(settings, sort_keys=True)}
