"""What cannot be read as a language model is refused in one sentence, and no code that comes with it is run."""

import json

import pytest
import torch
from encoder.gguf_file import write_gguf
from interop.language_models import causal_model, dream_folder, llada_folder, masked_model
from safetensors.torch import load_file, save_file

import unmelt as um
from unmelt.errors import UsageError
from unmelt.interop import from_transformers


def refused(path, *words, load=from_transformers):
    with pytest.raises(UsageError) as raised:
        load(path)
    said = str(raised.value)
    assert "\n" not in said
    assert all(word in said for word in words), said


def changed(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | settings), encoding="utf-8")


def test_pickles_are_not_opened(tmp_path):
    model, _ = masked_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    refused(tmp_path, "no weights in")
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    refused(tmp_path, "pickled (pytorch_model.bin), which is never opened", "safetensors")


def test_code_of_its_own_and_unknown_classes_are_named_and_not_run(tmp_path):
    llada_folder(tmp_path)
    changed(tmp_path, architectures=["NovelDiffusionLM"])
    refused(tmp_path, "'NovelDiffusionLM'", "code that comes with it and is never run")
    changed(tmp_path, architectures=["LLaDA2MoeModelLM"])
    refused(tmp_path, "'LLaDA2MoeModelLM'", "never run")
    changed(tmp_path, architectures=["MambaForCausalLM"], auto_map=None)
    refused(tmp_path, "'MambaForCausalLM'", "ForMaskedLM")
    changed(tmp_path, architectures=[])
    refused(tmp_path, "names no class")
    changed(tmp_path, architectures=["BertForMaskedLM"], quantization_config={"bits": 4})
    refused(tmp_path, "quantised")


def test_a_missing_tokenizer_mask_or_end_is_named(tmp_path):
    for name, file in (("a", "tokenizer.json"), ("b", None)):
        (tmp_path / name).mkdir()
        masked_model(tmp_path / name)
        if file:
            (tmp_path / name / file).unlink()
            refused(tmp_path / name, "no tokenizer in")
    about = tmp_path / "b" / "tokenizer_config.json"
    plain = json.loads(about.read_text(encoding="utf-8"))
    about.write_text(
        json.dumps({name: value for name, value in plain.items() if name != "mask_token"}), encoding="utf-8"
    )
    refused(tmp_path / "b", "has no mask token")
    about.write_text(
        json.dumps({name: value for name, value in plain.items() if name != "sep_token"}), encoding="utf-8"
    )
    refused(tmp_path / "b", "no token that ends a text")
    (tmp_path / "b" / "tokenizer.json").write_text("{", encoding="utf-8")
    refused(tmp_path / "b", "the tokenizer in", "cannot be read")


def test_a_gguf_file_that_is_cut_short_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("gguf")
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "tiny.gguf")
    content = (tmp_path / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").write_bytes(content[: len(content) // 2])
    (tmp_path / "books.txt").write_text("the sea was calm", encoding="utf-8")
    refused(tmp_path / "tiny.gguf", "cannot be read", "a whole .gguf file")
    refused(
        tmp_path / "tiny.gguf",
        "a whole .gguf file",
        load=lambda path: um.recipe.text(start=path, folder=tmp_path / "books.txt"),
    )
    refused(tmp_path / "nothing", "there is no language model in")


def test_a_causal_model_is_pointed_to_the_recipe(tmp_path):
    causal_model(tmp_path)
    refused(tmp_path, "LlamaForCausalLM, which attends to earlier tokens only", "um.recipe.text(start=")


def test_weights_that_are_lacking_or_of_another_model_are_refused(tmp_path):
    for make in (masked_model, llada_folder, dream_folder):
        folder = tmp_path / make.__name__
        folder.mkdir()
        make(folder)
        weights = load_file(folder / "model.safetensors")
        name = sorted(name for name in weights if "norm" in name.lower())[0]
        save_file({key: value for key, value in weights.items() if key != name}, folder / "model.safetensors")
        refused(folder, str(folder))
        save_file({**weights, name: torch.zeros(3)}, folder / "model.safetensors")
        refused(folder, str(folder))
    llada_folder(tmp_path)
    changed(tmp_path, block_type="sequential")
    refused(tmp_path, "block_type='sequential'")


def test_lengths_without_positions_are_refused(tmp_path):
    masked_model(tmp_path)
    assert from_transformers(tmp_path).length == 38  # 40 positions, of which [CLS] and [SEP] take two
    refused(tmp_path, "length=39", load=lambda path: from_transformers(path, length=39))


def test_a_run_folder_cannot_name_other_classes_or_code(tmp_path):
    masked_model(tmp_path / "source")
    network = from_transformers(tmp_path / "source").denoiser.backbone
    described = um.config.describe(network)
    for name in ("os", "AutoModel", "PreTrainedModel", "pipeline", "BertModel", "XForMaskedLM"):
        with pytest.raises(UsageError, match=name):
            um.config.build({**described, "architecture": name})
    with pytest.raises(UsageError, match="BertForMaskedLM cannot take"):
        um.config.build({**described, "settings": "[1]"})
    wild = json.loads(described["settings"]) | {
        "auto_map": {"AutoModel": "a.B"},
        "_attn_implementation": "owner/kernel",
    }
    made = um.config.build({**described, "settings": json.dumps(wild)})
    assert made.network.config._attn_implementation == "sdpa"
    assert not hasattr(made.network.config, "auto_map")


def test_an_approximate_cache_is_refused_because_there_is_none(tmp_path):
    masked_model(tmp_path)
    with pytest.raises(UsageError, match="ApproximateBlockCache"):
        from_transformers(tmp_path, length=8).sample(1, cache_block=4)
