"""A causal language model becomes a block diffusion: it learns, is decoded with an exact cache, saved and loaded."""

import dataclasses

import pytest
import torch
from interop.language_models import causal_model, masked_model

import unmelt as um

SMALL = {"length": 16, "steps": 6, "batch": 4, "save_every": 6, "picture_every": 0, "held_out": 0.2, "block": 4}


def started(folder, books, **settings):
    (folder / "start").mkdir()
    if settings.get("lora"):  # whose layers must be linear ones
        causal_model(folder / "start", num_key_value_heads=1)
    else:
        causal_model(folder / "start", "GPT2", n_embd=16, n_layer=2, n_head=2)
    return um.recipe.text(start=folder / "start", folder=books, **{**SMALL, **settings})


def without_cache(model):
    return dataclasses.replace(model.sampler, cache=False, block=4)


@pytest.mark.parametrize("lora", [0, 2])
def test_it_learns_and_is_decoded_with_an_exact_cache(tmp_path, books, lora, monkeypatch):
    model = started(tmp_path, books, lora=lora)
    before = [each.clone() for each in model.denoiser.parameters()]
    model.fit(tmp_path / "run", device="cpu", quiet=True)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.denoiser.parameters(), strict=True)) != bool(lora)
    loaded = um.load(tmp_path / "run", device="cpu")
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    found = []
    for each in (model, loaded):
        each.denoiser.double()
        for sampler in (None, without_cache(each)):
            found.append(each.sample(3, prompt="the sea", steps=8, seed=[1, 2, 3], sampler=sampler))
    assert found[0] == found[1] == found[2] == found[3]
    assert len(set(found[0])) > 1


def test_cached_calls_read_a_block_and_the_token_before_it(tmp_path, books):
    model, read = started(tmp_path, books), []
    inner = model.denoiser.backbone.network.network.base_model
    handle = inner.register_forward_pre_hook(
        lambda _, args, given: read.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    model.sample(1, prompt="the", steps=16, seed=0)
    assert len(read) > 4
    assert max(read[1:]) <= 4 + 4 + 1
    read.clear()
    model.sample(1, prompt="the", steps=16, seed=0, sampler=without_cache(model))
    handle.remove()
    assert min(read) == 17


def test_a_gap_is_filled_with_full_attention(tmp_path, books):
    model = started(tmp_path, books)
    (text,) = model.sample(1, prompt="the ", suffix=" calm", steps=4, seed=0)
    assert text.startswith("the ")
    assert text.endswith(" calm")


def test_blocks_of_a_masked_language_model_are_refused(tmp_path, books):
    (tmp_path / "bert").mkdir()
    masked_model(tmp_path / "bert")
    with pytest.raises(um.UsageError, match="a causal model"):
        um.recipe.text(start=tmp_path / "bert", folder=books, **SMALL)
