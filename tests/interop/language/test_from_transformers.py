"""Language models of transformers as text models: their beliefs are the logits of the models themselves."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from interop.language_models import dream_folder, llada_folder, masked_model

import unmelt as um
from unmelt.interop import from_transformers

MASKED = {
    "Bert": {},
    "Roberta": {},
    "ModernBert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "XLMRoberta": {},
    "Electra": {"embedding_size": 8},
    "Albert": {"embedding_size": 8},
    "DebertaV2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 20},
    "MPNet": {},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
}


def rows_of(model, count=3, seed=0):
    """Rows of tokens and masks."""
    draws = torch.Generator().manual_seed(seed)
    x = torch.randint(5, 16, (count, 9), generator=draws)
    return torch.where(torch.rand(x.shape, generator=draws) < 0.4, model.denoiser.process.mask, x)


def belief(model, x):
    with torch.no_grad():
        return model.denoiser(x, torch.full((len(x),), 0.5))


def same(found, truth, excluded):
    """Logits are equal but for tokens that are none of a text, which are ruled out."""
    kept = [k for k in range(found.shape[-1]) if k not in excluded]
    torch.testing.assert_close(found[..., kept], truth[..., kept], atol=1e-5, rtol=1e-5)
    assert (found[..., sorted(excluded)] == -math.inf).all()


@pytest.mark.parametrize("kind", MASKED)
def test_a_masked_language_model_believes_what_its_class_says(tmp_path, kind):
    theirs, tokenizer = masked_model(tmp_path, kind, **MASKED[kind])
    model = from_transformers(tmp_path, length=12)
    x = rows_of(model)
    assert model.tokenizer.vocabulary == len(tokenizer) == model.denoiser.process.mask
    read = torch.where(x == model.denoiser.process.mask, tokenizer.mask_token_id, x)
    read = F.pad(F.pad(read, (1, 0), value=tokenizer.cls_token_id), (0, 1), value=tokenizer.sep_token_id)
    with torch.no_grad():
        truth = theirs(input_ids=read, attention_mask=torch.ones_like(read)).logits[:, 1:-1]
    same(belief(model, x).logits, truth, {0, 1, 2, 3, 4})
    where = x == model.denoiser.process.mask
    some = model.denoiser.logits_at(x, where, torch.zeros(3)).logits
    same(some, truth[where], {0, 1, 2, 3, 4})


def test_padding_is_hidden_and_the_end_stands_before_it(tmp_path):
    for kind in ("Bert", "Roberta"):
        masked_model(tmp_path / kind, kind)
        model = from_transformers(tmp_path / kind, length=12)
        mask, end, padding = model.denoiser.process.mask, model.tokenizer.end, model.tokenizer.padding
        text = torch.tensor([[5, mask, 7, 8]])
        padded = torch.cat([text, torch.tensor([[end, padding, padding]])], 1)
        torch.testing.assert_close(belief(model, padded).logits[:, :4], belief(model, text).logits)


def test_special_tokens_are_never_written_and_known_text_stays(tmp_path):
    masked_model(tmp_path)
    model = from_transformers(tmp_path, length=8)
    texts = model.sample(6, prompt="the sea", suffix="home", seed=1)
    assert all(each.startswith("the sea ") and each.endswith(" home") for each in texts)
    assert all(len(model.tokenizer.encode(each)) == 8 for each in texts)
    assert model.infill("the ░ was ░", seed=3)[0].split()[::2] == ["the", "was"]
    assert model.tokenizer.encode("[MASK] the")[-1] == 5
    assert model.tokenizer.special("mask-less") == -1


def llada_logits(weights, config, x):
    """The network of LLaDA, written out: Llama with full attention."""
    heads, size = config["n_heads"], config["d_model"] // config["n_heads"]
    repeats, top = heads // config["n_kv_heads"], "model.transformer."

    def norm(h, name):
        scale = torch.rsqrt(h.square().mean(-1, keepdim=True) + config["rms_norm_eps"])
        return h * scale * weights[f"{top}{name}.weight"]

    def rotated(h):
        turns = config["rope_theta"] ** (-torch.arange(0, size, 2) / size)
        angle = (torch.arange(h.shape[2])[:, None] * turns).repeat(1, 2)
        first, second = h.chunk(2, -1)
        return h * angle.cos() + torch.cat([-second, first], -1) * angle.sin()

    h = weights[f"{top}wte.weight"][x]
    for layer in range(config["n_layers"]):
        w = {name.split(".")[-2]: value for name, value in weights.items() if f"blocks.{layer}." in name}
        own = norm(h, f"blocks.{layer}.attn_norm")
        q, k, v = ((own @ w[f"{name}_proj"].T).unflatten(-1, (-1, size)).transpose(1, 2) for name in ("q", "k", "v"))
        q, k, v = rotated(q), rotated(k).repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
        attended = (q @ k.transpose(-1, -2) / math.sqrt(size)).softmax(-1) @ v
        h = h + attended.transpose(1, 2).flatten(2) @ w["attn_out"].T
        own = norm(h, f"blocks.{layer}.ff_norm")
        h = h + (F.silu(own @ w["ff_proj"].T) * (own @ w["up_proj"].T)) @ w["ff_out"].T
    return norm(h, "ln_f") @ weights[f"{top}ff_out.weight"].T


def test_llada_is_llama_with_full_attention(tmp_path):
    weights, config = llada_folder(tmp_path)
    model = from_transformers(tmp_path, length=16)
    x = rows_of(model)
    truth = llada_logits(weights, config, torch.where(x == model.denoiser.process.mask, config["mask_token_id"], x))
    excluded = {config["mask_token_id"], model.tokenizer.padding}
    truth = torch.cat([truth[..., : config["mask_token_id"] + 1], torch.zeros(*truth.shape[:2], 1)], -1)
    same(belief(model, x).logits, truth[..., : model.tokenizer.vocabulary], excluded)


def test_dream_is_qwen2_with_full_attention_and_logits_shifted_by_one(tmp_path):
    theirs = dream_folder(tmp_path)
    model = from_transformers(tmp_path, length=16)
    mask, x = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["mask_token_id"], rows_of(model)
    everywhere = torch.ones(1, 1, x.shape[1], x.shape[1], dtype=torch.bool)
    with torch.no_grad():
        logits = theirs(
            input_ids=torch.where(x == model.denoiser.process.mask, mask, x), attention_mask=everywhere
        ).logits
    truth = torch.cat([logits[:, :1], logits[:, :-1]], 1)[..., : model.tokenizer.vocabulary]
    same(belief(model, x).logits, truth, {mask, model.tokenizer.padding})


def test_a_run_folder_needs_nothing_of_the_folder_it_came_from(tmp_path):
    for make in (masked_model, llada_folder, dream_folder):
        source, run = tmp_path / make.__name__, tmp_path / f"run {make.__name__}"
        source.mkdir()
        make(source)
        model = from_transformers(source, length=10)
        model.save(run)
        for file in source.iterdir():
            file.unlink()
        again = um.load(run, device="cpu")
        x = rows_of(model)
        assert torch.equal(belief(again, x).logits, belief(model, x).logits)
        assert again.sample(2, prompt="the", steps=2) == model.sample(2, prompt="the", steps=2)
        assert again.tokenizer.encode("the sea") == model.tokenizer.encode("the sea")


def test_likelihoods_are_bounds_over_all_orders(tmp_path):
    """For two unknown tokens the bound is the mean over both orders, which the model's own logits give."""
    masked_model(tmp_path)
    model = from_transformers(tmp_path, length=8)
    a, b = model.tokenizer.encode("calm"), model.tokenizer.encode("cold")
    mask, known = model.denoiser.process.mask, model.tokenizer.encode("the sea was")

    def log_p(row, place, token):
        return belief(model, torch.tensor([row])).log_probabilities[0, place, token].item()

    first = log_p([*known, mask, mask], 3, a[0]) + log_p([*known, *a, mask], 4, b[0])
    second = log_p([*known, mask, mask], 4, b[0]) + log_p([*known, mask, *b], 3, a[0])
    found = model.log_likelihood("calm cold", prompt="the sea was", draws=100)
    assert abs(found.value.item() - (first + second) / 2) < 5 * found.error.item() + 1e-4


def test_a_large_vocabulary_takes_fewer_rows_at_a_time_and_the_same_rows_come(tmp_path, monkeypatch):
    masked_model(tmp_path)
    model = from_transformers(tmp_path, length=8)
    assert model.rows_at_once == model.CHUNK
    whole = model.sample(5, prompt="the", steps=2, seed=3)
    monkeypatch.setattr("unmelt.model.base.MOST_LOGITS", 2 * 8 * model.tokenizer.vocabulary)
    assert model.rows_at_once == 2
    assert model.sample(5, prompt="the", steps=2, seed=3) == whole
