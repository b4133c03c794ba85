"""The Python of docs/drafting.md runs as written, on small random models in the places of the named ones."""

import re
from pathlib import Path

import torch
from interop.language_models import causal_model

import unmelt as um
from unmelt.backbone import Transformer
from unmelt.rng import seeded

GUIDE = (Path(__file__).parents[1] / "docs" / "drafting.md").read_text(encoding="utf-8")


def text_model(folder, is_causal):
    """A small text model with random weights, in a run folder."""
    tokenizer, length = um.codec.Bytes(), 48
    masks = um.process.Mask(tokenizer.vocabulary)
    with seeded(0):
        network = Transformer(
            input_vocabulary=masks.symbols,
            vocabulary=tokenizer.vocabulary,
            length=length,
            width=16,
            depth=1,
            heads=2,
            block=1 if is_causal else None,
        )
        torch.nn.init.normal_(network.out.weight, std=0.3)
    kind = um.denoiser.Autoregressive if is_causal else um.denoiser.TokenDenoiser
    sampler = um.sampler.tokens.Unmask(um.sampler.tokens.LeftToRight(), cache=is_causal)
    model = um.TextModel(
        denoiser=kind(network, masks, (length,)), codec=tokenizer, sampler=sampler, grid=um.grid.uniform(length)
    )
    model.save(folder)


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    causal_model(tmp_path / "models" / "smollm2")
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.txt").write_text("The sea was calm that day. " * 40, encoding="utf-8")
    text_model(tmp_path / "runs" / "code_ar", True)
    text_model(tmp_path / "runs" / "code", False)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 6
    named = {"um": um}
    for block in blocks:
        exec(block, named)
    assert named["found"].drafted[0] > 0
    assert named["drafter"].block == 4
    assert "tokens a pass" in (tmp_path / "runs" / "drafter" / "samples" / "000004.txt").read_text(encoding="utf-8")
    assert named["drafted"].passes < [24, 24]
