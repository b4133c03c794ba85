"""Hidden states of a frozen language model: those that the model itself gives, for every caption on its own."""

import json
import sys

import pytest
import torch

import unmelt as um
from unmelt.encoder import LanguageModelEncoder, TextEncoder
from unmelt.errors import UsageError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "square", "of", "the", "sea"]
CAPTIONS = ["a red square", None, "the sea of the blue sea", "  ", "blue"]


def saved(folder, kind):
    """A tiny model of one kind, with a tokenizer of whole words."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {} if kind == "causal without padding" else {"pad_token": "[PAD]"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", **names)
    sizes = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    torch.manual_seed(0)
    if kind == "bidirectional":
        config = transformers.BertConfig(**sizes, intermediate_size=32, max_position_embeddings=32)
    elif kind == "encoder and decoder":
        config = transformers.T5Config(
            vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2, decoder_start_token_id=0
        )
    else:
        config = transformers.LlamaConfig(**sizes, intermediate_size=32, max_position_embeddings=32)
    model = transformers.AutoModel.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["causal", "causal without padding", "bidirectional", "encoder and decoder"])
def checkpoint(request, tmp_path):
    return tmp_path, saved(tmp_path, request.param)


@torch.no_grad()
def test_states_are_those_of_the_model_for_each_caption_alone(checkpoint):
    folder, model = checkpoint
    encoder = LanguageModelEncoder(str(folder), layers=(0, 2, -1), device="cpu")
    sequence, mask = encoder(CAPTIONS)
    assert isinstance(encoder, TextEncoder)
    assert encoder.width == sequence.shape[2] == 48
    assert mask.sum(1).tolist() == [3, 0, 6, 0, 1]
    inner = model.encoder if hasattr(model, "decoder") else model
    for row, caption in enumerate(CAPTIONS):
        words = (caption or "").split()
        if words:
            tokens = torch.tensor([[WORDS.index(word) for word in words]])
            states = inner(input_ids=tokens, output_hidden_states=True).hidden_states
            expected = torch.cat([states[0], states[2], states[3]], -1)[0]
            torch.testing.assert_close(sequence[row, : len(words)], expected, atol=2e-6, rtol=1e-5)
        assert not sequence[row, len(words) :].any()
    assert sequence.dtype == torch.float32
    assert not sequence.requires_grad


def test_captions_are_cut_at_the_length(checkpoint):
    encoder = LanguageModelEncoder(str(checkpoint[0]), length=4, device="cpu")
    whole, cut = encoder(["the sea of the"]), encoder([CAPTIONS[2]])
    assert cut.mask.sum() == 4
    assert torch.equal(whole.sequence, cut.sequence)


def test_without_any_caption_no_row_has_tokens(checkpoint):
    sequence, mask = LanguageModelEncoder(str(checkpoint[0]), device="cpu")([None, ""])
    assert sequence.shape == (2, 1, 16)
    assert not sequence.any()
    assert not mask.any()


def test_layers_that_are_not_there_are_refused(checkpoint):
    encoder = LanguageModelEncoder(str(checkpoint[0]), layers=(1, 4), device="cpu")
    with pytest.raises(UsageError, match="a language model with 3 layers; numbers from -4 to 3"):
        _ = encoder.width


def test_a_run_folder_names_the_folder_and_reads_nothing():
    encoder = LanguageModelEncoder("there/is/none", layers=(1, 2), length=8)
    described = json.loads(json.dumps(um.config.describe(encoder)))
    assert described["part"] == "encoder.LanguageModelEncoder"
    assert um.config.build(described) == encoder


def test_pickled_weights_and_missing_folders_are_refused(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(UsageError, match="no language model in"):
        _ = LanguageModelEncoder(str(tmp_path / "none")).width
    model = saved(tmp_path, "causal")
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match="cannot be read"):
        _ = LanguageModelEncoder(str(tmp_path)).width


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    saved(tmp_path, "causal")
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "own.py").write_text("raise SystemExit('this ran')", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be read"):
        _ = LanguageModelEncoder(str(tmp_path)).width


def test_without_transformers_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'unmelt\[transformers\]'"):
        LanguageModelEncoder("a-folder")(["a cat"])


@pytest.fixture
def counted(monkeypatch):
    """The captions that a language model has read."""
    read, own = [], LanguageModelEncoder._read

    def counting(self, captions):
        read.extend(captions)
        return own(self, captions)

    monkeypatch.setattr(LanguageModelEncoder, "_read", counting)
    return read


def test_a_caption_is_read_once_by_each_model_and_comes_back_bit_for_bit(checkpoint, counted, tmp_path):
    folder, _ = checkpoint
    first = LanguageModelEncoder(str(folder), device="cpu")(CAPTIONS)
    again = LanguageModelEncoder(str(folder), device="cpu")([*reversed(CAPTIONS), "a sea"])
    assert torch.equal(again.sequence[:5].flip(0), first.sequence)
    assert torch.equal(again.mask[:5].flip(0), first.mask)
    assert counted == ["a red square", "blue", "the sea of the blue sea", "a sea"]
    LanguageModelEncoder(str(folder), layers=(0,), device="cpu")(["blue"])
    LanguageModelEncoder(str(folder), length=2, device="cpu")(["blue"])
    assert counted[4:] == ["blue", "blue"]
    plain = LanguageModelEncoder(str(folder), device="cpu", cache=False)(CAPTIONS)
    torch.testing.assert_close(plain.sequence, first.sequence, atol=2e-6, rtol=1e-5)
    (folder / "model.safetensors").touch()
    LanguageModelEncoder(str(folder), device="cpu")(["blue"])
    assert counted[-1] == "blue"


def test_a_cache_that_is_damaged_or_cannot_be_written_to_is_said(checkpoint, monkeypatch, tmp_path):
    encoder = LanguageModelEncoder(str(checkpoint[0]), device="cpu")
    encoder(["blue"])
    (tmp_path / "cache" / "captions.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(UsageError, match=r"captions\.sqlite is damaged"):
        encoder(["blue"])
    monkeypatch.setenv("UNMELT_CACHE", "/proc/nowhere")
    with pytest.raises(UsageError, match=r"captions /proc/nowhere/captions\.sqlite cannot be written"):
        LanguageModelEncoder(str(checkpoint[0]), device="cpu")(["blue"])


def test_no_layers_or_no_length_are_refused():
    with pytest.raises(UsageError, match="at least one layer"):
        LanguageModelEncoder("a-folder", layers=())
    with pytest.raises(UsageError, match="at least one layer and one token"):
        LanguageModelEncoder("a-folder", length=0)
