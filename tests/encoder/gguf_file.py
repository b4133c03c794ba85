"""A tiny llama in a GGUF file with 8-bit weights, and the same weights as they come out of it."""

import numpy as np

WIDTH, LAYERS = 32, 2


def write_gguf(path, seed=0):
    """Write the file.

    Returns:
        The plain weights by their names in transformers' LlamaModel; query and key are as transformers has them.
    """
    import gguf
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = [*sorted(ByteLevel.alphabet()), "re", "red", "Ġred", "<|end|>"]
    last, eight, plain = len(tokens) - 1, gguf.GGMLQuantizationType.Q8_0, {}
    file, draws = gguf.GGUFWriter(str(path), "llama"), np.random.default_rng(seed)
    file.add_context_length(64)
    file.add_embedding_length(WIDTH)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(2 * WIDTH)
    file.add_head_count(2)
    file.add_head_count_kv(2)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(WIDTH // 2)
    file.add_rope_freq_base(10000.0)
    file.add_vocab_size(len(tokens))
    file.add_tokenizer_model("gpt2")
    file.add_token_list(tokens)
    file.add_token_types([1] * last + [3])
    file.add_token_merges(["r e", "re d", "Ġ red"])
    for add in (file.add_eos_token_id, file.add_bos_token_id, file.add_pad_token_id):
        add(last)

    def matrix(name, theirs, rows, columns):
        quantised = gguf.quants.quantize((0.2 * draws.standard_normal((rows, columns))).astype(np.float32), eight)
        file.add_tensor(name, quantised, raw_dtype=eight)
        x = gguf.quants.dequantize(quantised, eight)
        if name.endswith(
            ("attn_q.weight", "attn_k.weight")
        ):  # pairs of rotary numbers, together in one and apart in the other
            x = x.reshape(2, WIDTH // 4, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        plain[theirs] = x

    def ones(name, theirs):
        file.add_tensor(name, np.ones(WIDTH, np.float32))
        plain[theirs] = np.ones(WIDTH, np.float32)

    matrix("token_embd.weight", "embed_tokens.weight", len(tokens), WIDTH)
    ones("output_norm.weight", "norm.weight")
    for layer in range(LAYERS):
        here, there = f"blk.{layer}.", f"layers.{layer}."
        ones(f"{here}attn_norm.weight", f"{there}input_layernorm.weight")
        ones(f"{here}ffn_norm.weight", f"{there}post_attention_layernorm.weight")
        for name, theirs in (("q", "q"), ("k", "k"), ("v", "v"), ("output", "o")):
            matrix(f"{here}attn_{name}.weight", f"{there}self_attn.{theirs}_proj.weight", WIDTH, WIDTH)
        for name in ("gate", "up"):
            matrix(f"{here}ffn_{name}.weight", f"{there}mlp.{name}_proj.weight", 2 * WIDTH, WIDTH)
        matrix(f"{here}ffn_down.weight", f"{there}mlp.down_proj.weight", WIDTH, 2 * WIDTH)
    for write in (file.write_header_to_file, file.write_kv_data_to_file, file.write_tensors_to_file, file.close):
        write()
    return plain
