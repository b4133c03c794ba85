"""DiffusionGemma as a denoiser: its belief is the class's logits for the canvas, given the prompt.

Its pipeline draws its noise from torch's generator and feeds the network its own last logits, which no sampler here
does: generation is not compared.
"""

import pytest
import torch
from interop.language_models import gemma_model

import unmelt as um
from unmelt.interop import from_transformers

transformers = pytest.importorskip("transformers")
if not hasattr(transformers, "DiffusionGemmaForBlockDiffusion"):
    pytest.skip("a transformers without DiffusionGemma", allow_module_level=True)


@torch.no_grad()
def test_the_belief_is_the_class_s_own_and_a_run_folder_keeps_it(tmp_path):
    (tmp_path / "source").mkdir()
    theirs, tokenizer = gemma_model(tmp_path / "source")
    model = from_transformers(tmp_path / "source")
    x = torch.randint(0, len(tokenizer), (3, 12), generator=torch.Generator().manual_seed(0))
    known = torch.full_like(x, -1)
    for row, size in enumerate((0, 3, 7)):
        known[row, :size] = x[row, :size]
    logits = model.denoiser(x, torch.full((3,), 0.5), um.Condition(known_tokens=known)).logits
    for row, size in enumerate((0, 3, 7)):
        prompt = torch.cat([torch.tensor([tokenizer.bos_token_id]), x[row, :size]])[None]
        truth = theirs(input_ids=prompt, decoder_input_ids=x[row : row + 1, size:]).logits
        torch.testing.assert_close(logits[row : row + 1, size:], truth, atol=1e-5, rtol=1e-5)
        assert truth.std() > 0.1
    assert isinstance(model.denoiser.process, um.process.Uniform)
    model.save(tmp_path / "run")
    again = um.load(tmp_path / "run", device="cpu")
    assert torch.equal(again.denoiser(x, torch.zeros(3)).logits, model.denoiser(x, torch.zeros(3)).logits)
    assert all(text.startswith("the ") for text in again.sample(2, prompt="the ", steps=3))


def test_a_row_longer_than_the_canvas_is_refused_and_so_is_training_from_it(tmp_path):
    gemma_model(tmp_path)
    with pytest.raises(um.UsageError, match="length=13"):
        from_transformers(tmp_path, length=13)
    (tmp_path / "books.txt").write_text("the sea", encoding="utf-8")
    with pytest.raises(um.UsageError, match="DiffusionGemmaForBlockDiffusion"):
        um.recipe.text(start=tmp_path, folder=tmp_path / "books.txt", length=4)
