"""Names of a text encoder's layers in files: with or without `text_model.`, which transformers had until version 5.

Old files of diffusers name what attention projects as they do in the denoiser: `self_attn.to_q` is `self_attn.q_proj`.
"""

from unmelt.adapter.dialect.place import Layers, Place

_ATTENTION = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


def of_encoder(layers: Layers) -> dict[str, Place]:
    """The layers of a text encoder by the other names that files have for them.

    Args:
        layers: The layers.

    Returns:
        Places; none for networks without an encoder's layers.
    """
    found: dict[str, Place] = {}
    for name in layers:
        if not name.startswith(("encoder.", "text_model.", "text_projection")):
            continue
        place = Place(layers=(name,))
        names = [name.removeprefix("text_model."), f"text_model.{name.removeprefix('text_model.')}"]
        stem, _, last = name.rpartition(".")
        if stem.endswith("self_attn") and last in _ATTENTION:
            names += [f"{each.rpartition('.')[0]}.{_ATTENTION[last]}" for each in names]
        found |= dict.fromkeys(names, place)
    return found
