"""The Python of docs/speech.md runs as written, on recordings that hum."""

import re
from pathlib import Path

import torch

import unmelt as um
from unmelt.data.wav import read_sound, wav_bytes

GUIDE = (Path(__file__).parents[1] / "docs" / "speech.md").read_text(encoding="utf-8")
FOX = "the quick brown fox jumps over a lazy dog"
TEXTS = ("the sea was calm", "mild and blue", FOX, f"{FOX} again", f"{FOX} once more", f"there {FOX}")


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    for voice, pitch in (("anna", 0.3), ("bert", 0.2)):
        (tmp_path / "recordings" / voice).mkdir(parents=True)
        for number, text in enumerate(TEXTS):
            hum = 0.3 * torch.sin(pitch * torch.arange(240 * len(text)))
            (tmp_path / "recordings" / voice / f"{number}.wav").write_bytes(wav_bytes(hum[None], 4000))
            (tmp_path / "recordings" / voice / f"{number}.txt").write_text(text, encoding="utf-8")

    small = {"steps": 1, "batch": 2, "picture_every": 0, "held_out": 0.3, "depth": 1}
    mel = {"sample_rate": 4000, "n_fft": 128, "hop": 32, "bands": 16}
    vocoder, speech = um.recipe.vocoder, um.recipe.speech
    thin = {"width": 8, "excerpt": 2048}
    wide = {"width": 16, "heads": 2, "text_width": 8, "text_depth": 1}
    monkeypatch.setattr(um.recipe, "vocoder", lambda **given: vocoder(**(small | mel | thin | given)))
    monkeypatch.setattr(um.recipe, "speech", lambda **given: speech(**(small | wide | given)))
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    assert names["x"].shape[0] == 1
    assert read_sound(tmp_path / "said.wav").sample_rate == 4000
