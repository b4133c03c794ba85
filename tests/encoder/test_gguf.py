"""Language models in GGUF files: plain weights are those of the file, made once, and a damaged file is refused."""

import sys

import pytest
import torch
from encoder.gguf_file import LAYERS, WIDTH, write_gguf

from unmelt.encoder import LanguageModelEncoder
from unmelt.encoder.pretrained import load_pretrained
from unmelt.errors import UsageError

transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@torch.no_grad()
def test_states_are_those_of_the_weights_in_the_file(tmp_path):
    plain = write_gguf(tmp_path / "tiny.gguf")
    config = transformers.LlamaConfig(
        vocab_size=len(plain["embed_tokens.weight"]),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
    )
    exact = transformers.LlamaModel(config).eval()
    exact.load_state_dict({name: torch.from_numpy(value) for name, value in plain.items()})
    encoder = LanguageModelEncoder(str(tmp_path / "tiny.gguf"), layers=(0, -1), device="cpu")
    sequence, mask = encoder(["a red sea", "x"])
    tokens = load_pretrained(tmp_path / "tiny.gguf").tokenizer("a red sea", return_tensors="pt")["input_ids"]
    states = exact(input_ids=tokens, output_hidden_states=True).hidden_states
    assert mask.sum(1).tolist() == [tokens.shape[1], 1]
    torch.testing.assert_close(sequence[0], torch.cat([states[0], states[-1]], -1)[0], atol=1e-5, rtol=1e-4)


def test_weights_are_made_plain_once_and_a_folder_with_the_file_does_as_well(tmp_path, cache, monkeypatch):
    (tmp_path / "model").mkdir()
    write_gguf(tmp_path / "model" / "tiny.gguf")
    first = load_pretrained(tmp_path / "model" / "tiny.gguf", writes=True).model
    assert [path.suffix for path in cache.iterdir()] == [".language_model"]
    monkeypatch.setitem(sys.modules, "gguf", None)  # is not needed any more
    again = load_pretrained(tmp_path / "model", writes=True).model
    assert again.state_dict().keys() == first.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], value) for name, value in first.state_dict().items())
    assert torch.equal(again.lm_head.weight, again.model.embed_tokens.weight)
    (tmp_path / "model" / "other.gguf").touch()
    with pytest.raises(UsageError, match=r"2 \.gguf files"):
        load_pretrained(tmp_path / "model")


def test_a_file_that_is_cut_short_is_said_to_be_one_and_leaves_nothing(tmp_path, cache):
    write_gguf(tmp_path / "tiny.gguf")
    whole = (tmp_path / "tiny.gguf").read_bytes()
    for size in (len(whole) // 2, 200, 3, 0):
        (tmp_path / "tiny.gguf").write_bytes(whole[:size])
        with pytest.raises(UsageError, match=r"tiny.gguf cannot be read .*; a whole .gguf file"):
            load_pretrained(tmp_path / "tiny.gguf")
    assert not cache.exists() or not list(cache.iterdir())


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UsageError, match=r"gguf, which reading .gguf files needs.*pip install 'unmelt\[gguf\]'"):
        load_pretrained(tmp_path / "tiny.gguf")


def test_weights_that_are_not_in_the_folder_are_not_made_up(tmp_path):
    from safetensors.torch import load_file, save_file

    write_gguf(tmp_path / "tiny.gguf")
    pair = load_pretrained(tmp_path / "tiny.gguf")
    pair.model.save_pretrained(tmp_path / "folder")
    pair.tokenizer.save_pretrained(tmp_path / "folder")
    weights = load_file(tmp_path / "folder" / "model.safetensors")
    del weights["layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "folder" / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=r"it lacks layers\.1\.mlp\.up_proj\.weight"):
        load_pretrained(tmp_path / "folder")
