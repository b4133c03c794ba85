"""Which encoder a name means, and a recipe that is given a language model."""

import pytest
import torch
from PIL import Image
from test_language_model import saved

import unmelt as um
from unmelt.encoder import HashedCaptionEncoder, LanguageModelEncoder, caption_encoder
from unmelt.errors import UsageError


def test_words_are_hashed_and_anything_else_is_a_place(tmp_path):
    assert caption_encoder("words") == HashedCaptionEncoder()
    assert caption_encoder("words", context=True) == HashedCaptionEncoder(context=True)
    assert caption_encoder("models/small") == LanguageModelEncoder("models/small")
    with pytest.raises(UsageError, match="no language model"):
        assert caption_encoder(str(tmp_path / "nowhere")).width


def test_a_recipe_reads_captions_with_a_language_model(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    saved(tmp_path / "lm", "causal")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, word in enumerate(("red", "blue", "red", "blue")):
        Image.new("RGB", (8, 8), word).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(f"a {word} square", encoding="utf-8")
    asked = {"folder": pictures, "size": 8, "width": 8, "blocks": 1, "steps": 8, "batch": 4, "picture_every": 0}
    model = um.recipe.images(**asked, caption="auto", encoder=str(tmp_path / "lm"))
    assert model.encoder == LanguageModelEncoder(str(tmp_path / "lm"))
    assert model.denoiser.backbone.sequence_width == 16
    model.fit(tmp_path / "run", quiet=True, device="cpu")
    red, blue = (
        um.load(tmp_path / "run", "cpu").sample(1, caption=f"a {word} square", steps=2) for word in ("red", "blue")
    )
    assert not torch.equal(red, blue)
