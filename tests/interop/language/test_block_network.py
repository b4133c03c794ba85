"""A causal language model with block-causal attention: an exact cache, training in one call, blocks of one token."""

import pytest
import torch
from interop.language_models import causal_model, masked_model

import unmelt as um
from unmelt.interop import BlockLanguageNetwork, read_language_model

BLOCK, LENGTH = 3, 11
FEW = {"GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2}}


def made(folder, kind="GPT2", block=BLOCK):
    folder.mkdir(exist_ok=True)
    theirs, _ = causal_model(folder, kind, **FEW.get(kind, {"num_key_value_heads": 1}))
    language = read_language_model(folder, length=LENGTH)
    masks = um.process.Mask(language.tokenizer.vocabulary)
    return um.denoiser.Blockwise(BlockLanguageNetwork(language.network, block), masks, (LENGTH,)), theirs


def in_float64(denoiser, monkeypatch):
    """GPT-2 computes in the type of its weights throughout; the others normalise in float32."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    return denoiser.double()


def tokens(rows, seed=0):
    return torch.randint(0, 200, (rows, LENGTH), generator=torch.Generator().manual_seed(seed))


def with_masks(x, start, mask, seed=1):
    """Rows of which half of a block is masked, and all that follows."""
    x, dice = x.clone(), torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    for row, first in enumerate(start.tolist()):
        here = torch.arange(LENGTH)
        x[row, (here >= first + BLOCK) | ((here >= first) & (dice[row] < 0.6))] = mask
    return x


@torch.no_grad()
def test_the_cache_changes_nothing_in_float64(tmp_path, monkeypatch):
    denoiser, _ = made(tmp_path)
    denoiser = in_float64(denoiser, monkeypatch)
    mask, clean = denoiser.process.mask, tokens(4)
    padding = denoiser.backbone.network.padding
    clean[3, 8:] = padding
    cache = denoiser.init_cache(4, LENGTH)
    calls = torch.tensor([[0, 0, 3, 0], [0, 3, 3, 3], [3, 3, 6, 6], [6, 9, 9, 6], [9, 9, 9, 9]])
    for seed, start in enumerate(calls):
        x = with_masks(clean, start, mask, seed)
        belief, cache = denoiser.decode_step(x, start, cache)
        truth = denoiser(x, torch.zeros(4)).logits
        for row, first in enumerate(start.tolist()):
            end = min(first + BLOCK, LENGTH)
            found, wanted = belief.logits[row, : end - first], truth[row, first:end]
            real = wanted.isfinite()
            assert torch.equal(real, found.isfinite())
            assert (found - wanted)[real].abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3", "Mistral"])
def test_the_cache_changes_nothing_of_other_models(tmp_path, kind):
    denoiser, _ = made(tmp_path, kind)
    cache, clean = denoiser.init_cache(2, LENGTH), tokens(2)
    for start in torch.tensor([[0, 0], [0, 3], [3, 6], [9, 9]]):
        x = with_masks(clean, start, denoiser.process.mask)
        belief, cache = denoiser.decode_step(x, start, cache)
        truth = denoiser(x, torch.zeros(2)).logits
        for row, first in enumerate(start.tolist()):
            end = min(first + BLOCK, LENGTH)
            torch.testing.assert_close(belief.logits[row, : end - first], truth[row, first:end], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_blocks_of_one_token_are_the_causal_model(tmp_path, kind):
    denoiser, theirs = made(tmp_path, kind, block=1)
    begin, x = denoiser.backbone.network.before[0], tokens(2)
    truth = theirs(input_ids=torch.cat([torch.full((2, 1), begin), x], 1)).logits[:, :-1]
    found = denoiser(x, torch.zeros(2)).logits[..., : truth.shape[-1]]
    real = found.isfinite()
    torch.testing.assert_close(found[real], truth[real], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_training_reads_every_block_as_decoding_does(tmp_path, monkeypatch):
    """Each block of each noisy copy, given the clean tokens of earlier blocks, whatever later ones hold."""
    denoiser, _ = made(tmp_path)
    denoiser = in_float64(denoiser, monkeypatch)
    mask, clean, zeros = denoiser.process.mask, tokens(2), torch.zeros(2)
    dice = torch.rand(2, 2, LENGTH, generator=torch.Generator().manual_seed(0))
    noisy = torch.where(dice < torch.tensor([0.5, 0.9])[:, None], mask, clean[:, None])
    every = torch.ones(2, 2 * LENGTH, dtype=torch.bool)
    found = denoiser.teacher_forced(noisy.flatten(1), clean, every, zeros).logits.view(2, 2, LENGTH, -1)
    for first in range(0, LENGTH, BLOCK):
        for copy in range(2):
            x = torch.cat(
                [clean[:, :first], noisy[:, copy, first : first + BLOCK], tokens(2, 9)[:, first + BLOCK :]], 1
            )
            truth = denoiser(x, zeros).logits[:, first : first + BLOCK]
            made_of = found[:, copy, first : first + BLOCK]
            real = truth.isfinite()
            assert (made_of - truth)[real].abs().max() < 1e-12


@torch.no_grad()
def test_attention_is_full_where_that_is_asked_for(tmp_path):
    denoiser, _ = made(tmp_path)
    x = with_masks(tokens(2), torch.tensor([3, 6]), denoiser.process.mask)
    full = denoiser.backbone.network(x, torch.zeros(2))
    assert torch.equal(denoiser.as_bidirectional(x, torch.zeros(2)).logits, full)
    blocks = denoiser(x, torch.zeros(2)).logits
    assert not torch.allclose(blocks[:, :BLOCK], full[:, :BLOCK])


def test_other_models_have_no_blocks(tmp_path):
    masked_model(tmp_path)
    network = read_language_model(tmp_path, length=LENGTH).network
    with pytest.raises(um.UsageError, match=r"of a BertForMaskedLM.*a causal model"):
        BlockLanguageNetwork(network, 4)
