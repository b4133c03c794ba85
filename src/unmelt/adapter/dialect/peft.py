"""peft: the network's own names after `base_model.model.`, with alphas in adapter_config.json.

base_model.model.blocks.0.attention.project.lora_A.weight
base_model.model.blocks.0.attention.project.lora_magnitude_vector
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unmelt.adapter.dialect.layer_change import LayerChange
from unmelt.adapter.dialect.place import ANY, Dialect, Layers, Place, begin, own
from unmelt.adapter.dialect.text_encoder import of_encoder
from unmelt.errors import UsageError

PREFIX = "base_model.model."


def _places(layers: Layers) -> dict[str, Place]:
    return of_encoder(layers) | own(layers)


DIALECT = Dialect(
    name="peft",
    recognises=lambda keys: begin(keys, PREFIX),
    prefixes=((PREFIX, ANY),),
    places=_places,
)


def tensors_of(changes: Mapping[str, LayerChange], layers: Layers, prefix: str = PREFIX) -> dict[str, Tensor]:
    """The tensors as peft saves them.

    Args:
        changes: The changes by the layer's name.
        layers: The network's layers.
        prefix: What keys begin with.

    Returns:
        The tensors by their keys.

    Raises:
        UsageError: If magnitudes are those of inputs, or a convolution has groups that share A; peft has neither.
    """
    found = {}
    for name, change in changes.items():
        outer, rank = change.B.shape
        kernel = [1] * (len(layers[name]) - 2)
        if change.magnitude is not None and change.magnitudes != "output":
            raise UsageError(
                "an adapter with magnitudes of inputs", "magnitudes of outputs, which peft has", 'layout="unmelt"'
            )
        found[f"{prefix}{name}.lora_A.weight"] = change.A
        found[f"{prefix}{name}.lora_B.weight"] = change.B.view(outer, rank, *kernel)
        if change.magnitude is not None:
            shape = [1, outer, *kernel] if kernel else [outer]
            found[f"{prefix}{name}.lora_magnitude_vector"] = change.magnitude.view(shape)
    return found


def settings_of(changes: Mapping[str, LayerChange], dropout: float = 0.0) -> dict[str, Any]:
    """The content of adapter_config.json.

    Args:
        changes: The changes by the layer's name.
        dropout: Dropout in training.

    Returns:
        What peft's LoraConfig is made of. Layers are named by an expression, because peft takes a name for all layers
        whose names end in it.
    """
    rank = Counter(each.rank for each in changes.values()).most_common(1)[0][0]
    alpha = Counter(each.alpha for each in changes.values()).most_common(1)[0][0]
    names = {name: re.escape(name) for name in changes}
    return {
        "peft_type": "LORA",
        "auto_mapping": None,
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": f"(?:{'|'.join(names.values())})",
        "rank_pattern": {f"^{names[name]}": each.rank for name, each in changes.items() if each.rank != rank},
        "alpha_pattern": {f"^{names[name]}": each.alpha for name, each in changes.items() if each.alpha != alpha},
        "use_dora": any(each.magnitude is not None for each in changes.values()),
        "use_rslora": False,
        "task_type": None,
    }
