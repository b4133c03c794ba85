"""Diffusion language models whose repositories bring code of their own: their weights in classes of transformers.

    LLaDAModelLM   Llama with other names (Nie et al., 2025); ff_proj is the gate, up_proj the value
    DreamModel     Qwen2 under its own names, its logits shifted by one (Ye et al., 2025)

Both attend to all positions. Their code is not run: what it computes is said here, by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from unmelt.errors import UsageError

LLADA_NAMES = {
    "wte": "model.embed_tokens",
    "ln_f": "model.norm",
    "ff_out": "lm_head",
    "attn_norm": "input_layernorm",
    "ff_norm": "post_attention_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
}
"""Names in LLaDA and in Llama, those of the perceptron aside."""

LLADA_PERCEPTRON = {"ff_proj": "mlp.gate_proj", "up_proj": "mlp.up_proj", "ff_out": "mlp.down_proj"}

LLADA_ONLY: dict[str, Any] = {
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "alibi": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "attention_layer_norm": False,
    "include_bias": False,
}
"""Settings of LLaDA that have one value here. Others are architectures of other models."""


@final
@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a model is read into a class of transformers.

    Args:
        architecture: That class.
        settings: Its settings, from the model's own.
        renamed: The name there of a weight.
        shifted: Whether the output at a token is about the next one.
    """

    architecture: str
    settings: Callable[[Mapping[str, Any]], dict[str, Any]]
    renamed: Callable[[str], str]
    shifted: bool


def _llada_settings(own: Mapping[str, Any]) -> dict[str, Any]:
    for name, only in LLADA_ONLY.items():
        if own.get(name, only) != only:
            raise UsageError(f"a LLaDA with {name}={own[name]!r}", f"{name}={only!r}", "another model")
    heads = own["n_heads"]
    return {
        "vocab_size": own.get("embedding_size") or own["vocab_size"],
        "hidden_size": own["d_model"],
        "intermediate_size": own.get("mlp_hidden_size") or own["mlp_ratio"] * own["d_model"],
        "num_hidden_layers": own["n_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": own.get("n_kv_heads") or (1 if own.get("multi_query_attention") else heads),
        "max_position_embeddings": own["max_sequence_length"],
        "rms_norm_eps": own.get("rms_norm_eps", 1e-5),
        "rope_parameters": {"rope_type": "default", "rope_theta": float(own.get("rope_theta", 10000.0))},
        "attention_bias": bool(own.get("include_qkv_bias")),
        "tie_word_embeddings": bool(own.get("weight_tying")),
        "pad_token_id": None,
    }


def _llada_name(name: str) -> str:
    plain = name.removeprefix("model.").removeprefix("transformer.")
    block = re.fullmatch(r"blocks\.(\d+)\.(\w+)\.(weight|bias)", plain)
    if block is None:
        part, _, kind = plain.partition(".")
        return f"{LLADA_NAMES.get(part, part)}.{kind}"
    number, part, kind = block.groups()
    return f"model.layers.{number}.{LLADA_PERCEPTRON.get(part) or LLADA_NAMES.get(part, part)}.{kind}"


def _dream_settings(own: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    theta = (own.get("rope_parameters") or {}).get("rope_theta") or own.get("rope_theta", 1e6)
    scaling = own.get("rope_scaling") or {"rope_type": "default"}
    return {name: own[name] for name in kept} | {
        "num_key_value_heads": own.get("num_key_value_heads", own["num_attention_heads"]),
        "max_position_embeddings": own["max_position_embeddings"],
        "rms_norm_eps": own.get("rms_norm_eps", 1e-6),
        "rope_parameters": {**scaling, "rope_theta": float(theta)},
        "tie_word_embeddings": bool(own.get("tie_word_embeddings", False)),
        "use_sliding_window": False,
        "pad_token_id": None,
    }


LAYOUTS: Mapping[str, Layout] = {
    "LLaDAModelLM": Layout(
        architecture="LlamaForCausalLM", settings=_llada_settings, renamed=_llada_name, shifted=False
    ),
    "DreamModel": Layout(
        architecture="Qwen2ForCausalLM", settings=_dream_settings, renamed=lambda name: name, shifted=True
    ),
}
"""The layouts, by the class that a config.json names."""
