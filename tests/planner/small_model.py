"""A tiny causal model with random weights and a byte-level tokenizer, in a folder as transformers saves it."""

import pytest
import torch


def save_model(folder, seed=0, merges=("r e", "re d", "Ġ red", "c a", "ca t", "Ġ cat")):
    """Save the model: some words are one token, all others one a letter."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pairs = [tuple(each.split()) for each in merges]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *dict.fromkeys("".join(pair) for pair in pairs), "<|end|>"]
    tokenizer = Tokenizer(models.BPE({token: k for k, token in enumerate(tokens)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    config = transformers.LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=4096,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    return folder
