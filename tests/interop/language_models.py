"""Tiny language models with random weights and tokenizers, in folders as transformers writes them."""

import json

import pytest
import torch
from safetensors.torch import save_file

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
WORDS = ("the", "sea", "was", "calm", "and", "cold", "wind", "fell", "ship", "went", "home")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def word_tokenizer(folder, words=WORDS):
    """A word tokenizer like BERT's, with [CLS] and [SEP] around a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    tokens = {token: number for number, token in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordPiece(tokens, unk_token="[UNK]"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    theirs.save_pretrained(folder)
    return theirs


def letter_tokenizer(folder, special=("<|end|>", "<|begin|>"), merges=("t h", "th e", "Ġ the"), **names):
    """A byte-level tokenizer like GPT-2's."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    pairs = [tuple(each.split()) for each in merges]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *dict.fromkeys("".join(pair) for pair in pairs)]
    tokenizer = Tokenizer(models.BPE({token: k for k, token in enumerate(tokens)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in special])
    names = names or {"eos_token": "<|end|>", "bos_token": "<|begin|>", "pad_token": "<|end|>"}
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    theirs.save_pretrained(folder)
    return theirs


def masked_model(folder, kind="Bert", seed=0, spare=3, **settings):
    """A masked language model with more embeddings than its tokenizer has tokens."""
    theirs = word_tokenizer(folder)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(theirs) + spare, max_position_embeddings=40, pad_token_id=0, **{**SMALL, **settings}
    )
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForMaskedLM")(config).eval()
    randomise(model)
    model.save_pretrained(folder)
    return model, theirs


def causal_model(folder, kind="Llama", seed=0, **settings):
    """A causal language model."""
    theirs = letter_tokenizer(folder)
    names = {"GPT2": "GPT2LMHeadModel"}
    config = getattr(transformers, f"{kind}Config")(
        **{
            "vocab_size": len(theirs),
            "max_position_embeddings": 64,
            "initializer_range": 0.3,
            "bos_token_id": theirs.bos_token_id,
            "eos_token_id": theirs.eos_token_id,
            **SMALL,
            **settings,
        }
    )
    torch.manual_seed(seed)
    model = getattr(transformers, names.get(kind, f"{kind}ForCausalLM"))(config).eval()
    model.save_pretrained(folder)
    return model, theirs


def randomise(model, sd=0.3):
    """Weights that are far from those of an initial model, whose outputs hardly depend on its inputs."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, sd)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))


def llada_folder(folder, layers=2, width=16, heads=2, kv_heads=1, hidden=24, seed=0):
    """A model in the layout of LLaDA, and its weights."""
    theirs = letter_tokenizer(folder, ("<|end|>", "<|mdm_mask|>"), eos_token="<|end|>", pad_token="<|end|>")
    size, of = len(theirs) + 5, torch.Generator().manual_seed(seed)

    def matrix(rows, columns):
        return 0.3 * torch.randn(rows, columns, generator=of)

    def ones(n):
        return 1 + 0.1 * torch.randn(n, generator=of)

    top, narrow = "model.transformer.", width * kv_heads // heads
    weights = {f"{top}wte.weight": matrix(size, width), f"{top}ln_f.weight": ones(width)}
    weights[f"{top}ff_out.weight"] = matrix(size, width)
    for layer in range(layers):
        block = f"{top}blocks.{layer}."
        shapes = {
            "q_proj": (width, width),
            "k_proj": (narrow, width),
            "v_proj": (narrow, width),
            "attn_out": (width, width),
            "ff_proj": (hidden, width),
            "up_proj": (hidden, width),
            "ff_out": (width, hidden),
        }
        weights |= {f"{block}{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        weights |= {f"{block}{name}.weight": ones(width) for name in ("attn_norm", "ff_norm")}
    config = {
        "architectures": ["LLaDAModelLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_llada.LLaDAModelLM"},
        "model_type": "llada",
        "block_type": "llama",
        "activation_type": "silu",
        "layer_norm_type": "rms",
        "rope": True,
        "d_model": width,
        "n_layers": layers,
        "n_heads": heads,
        "n_kv_heads": kv_heads,
        "mlp_hidden_size": hidden,
        "max_sequence_length": 48,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "embedding_size": size,
        "vocab_size": size,
        "weight_tying": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "mask_token_id": theirs.convert_tokens_to_ids("<|mdm_mask|>"),
        "eos_token_id": theirs.eos_token_id,
        "pad_token_id": theirs.eos_token_id,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "modeling_llada.py").write_text("raise SystemExit('remote code was run')", encoding="utf-8")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return weights, config


def dream_folder(folder, seed=0):
    """A model in the layout of Dream, which is a Qwen2 by another name, and that Qwen2."""
    theirs = letter_tokenizer(folder, ("<|end|>", "<|mask|>"), eos_token="<|end|>", pad_token="<|end|>")
    settings = {**SMALL, "num_key_value_heads": 1, "vocab_size": len(theirs) + 3, "rms_norm_eps": 1e-6}
    settings |= {"max_position_embeddings": 48, "tie_word_embeddings": False}
    torch.manual_seed(seed)
    model = transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(**settings, rope_parameters={"rope_type": "default", "rope_theta": 1e6})
    ).eval()
    randomise(model)
    config = settings | {
        "architectures": ["DreamModel"],
        "auto_map": {"AutoModel": "modeling_dream.DreamModel"},
        "model_type": "Dream",
        "rope_theta": 1e6,
        "mask_token_id": theirs.convert_tokens_to_ids("<|mask|>"),
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "modeling_dream.py").write_text("raise SystemExit('remote code was run')", encoding="utf-8")
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return model


def gemma_model(folder, seed=0):
    """A DiffusionGemma."""
    theirs = letter_tokenizer(
        folder, ("<end>", "<begin>", "<pad>"), eos_token="<end>", bos_token="<begin>", pad_token="<pad>"
    )
    text = {**SMALL, "vocab_size": len(theirs) + 5, "moe_intermediate_size": 8, "num_experts": 2, "top_k_experts": 1}
    text |= {"num_key_value_heads": 1, "num_global_key_value_heads": 1, "head_dim": 8, "global_head_dim": 8}
    text |= {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"num_key_value_heads": 2, "head_dim": 8}
    config = transformers.DiffusionGemmaConfig(text_config=text, vision_config=vision, canvas_length=12)
    torch.manual_seed(seed)
    model = transformers.DiffusionGemmaForBlockDiffusion(config).eval()
    randomise(model)
    model.save_pretrained(folder)
    return model, theirs
