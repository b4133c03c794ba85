"""The last part of a key: which of a layer's tensors it is.

    A           .lora_A.weight  .lora_down.weight  .lora.down.weight  _lora.down.weight  .lora_linear_layer.down.weight
    B           the same with B and up
    alpha       .alpha
    magnitude   .lora_magnitude_vector[.weight]: of outputs          .dora_scale: of outputs or inputs, by its shape

In memory peft keeps the adapter's name in the key, as in .lora_A.default.weight; some files have it.
"""

import re
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["A", "B", "alpha", "magnitude", "dora_scale"]

_SUFFIXES: tuple[tuple[str, Kind], ...] = (
    (r"\.lora_A(?:\.\w+)?\.weight", "A"),
    (r"\.lora_B(?:\.\w+)?\.weight", "B"),
    (r"(?:\.lora_down|[._]lora\.down|\.lora_linear_layer\.down)\.weight", "A"),
    (r"(?:\.lora_up|[._]lora\.up|\.lora_linear_layer\.up)\.weight", "B"),
    (r"\.lora_magnitude_vector(?:\.\w+)?(?:\.weight)?", "magnitude"),
    (r"\.dora_scale", "dora_scale"),
    (r"\.alpha", "alpha"),
)
_KNOWN = tuple((re.compile(pattern + r"\Z"), kind) for pattern, kind in _SUFFIXES)

_OTHERS: tuple[tuple[str, str], ...] = (
    (r"\.hada_[wt]\d", "LoHa"),
    (r"\.lokr_[wt]\d", "LoKr"),
    (r"\.oft_|\.boft_|\.oft_R\.", "OFT"),
    (r"\.on_input\Z|\.ia3_l\Z", "IA3"),
    (r"\.lora_mid\.weight\Z", "LoCon with a Tucker core"),
    (r"\.[ab][12]\.weight\Z", "GLoRA"),
    (r"\.(?:diff|diff_b|w_norm|b_norm|set_weight)\Z", "differences of whole tensors"),
    (r"\.(?:lora_B|lora_up)(?:\.\w+)?\.bias\Z", "LoRA with biases"),
    (r"\.lora_embedding_[AB]", "LoRA of embeddings"),
    (r"\Abundle_emb\.", "bundled embeddings"),
)
_REFUSED = tuple((re.compile(pattern), method) for pattern, method in _OTHERS)


def split(key: str) -> tuple[str, Kind] | None:
    """Take a key apart.

    Args:
        key: A key of a file.

    Returns:
        The name of what it changes, with its prefix, and which tensor it is; None for anything else.
    """
    for pattern, kind in _KNOWN:
        if (found := pattern.search(key)) is not None:
            return key[: found.start()], kind
    return None


def other_method(key: str) -> str | None:
    """Say which other method than LoRA and DoRA a key belongs to.

    Args:
        key: A key of a file.

    Returns:
        The method's name; None if it is no known one.
    """
    return next((method for pattern, method in _REFUSED if pattern.search(key)), None)
