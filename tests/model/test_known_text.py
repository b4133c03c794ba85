"""Known text comes back letter for letter; what does not fit is answered with advice that works."""

import codecs
import re

import pytest
import torch

import unmelt as um
from unmelt.cli import main
from unmelt.cli.script import as_option
from unmelt.codec import BPE, Bytes
from unmelt.data import GAP_MARKER, Questions
from unmelt.errors import UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "books").mkdir()
    (folder / "books" / "a.txt").write_text("hello world. " * 40, encoding="utf-8")
    sizes = {"vocabulary": 0, "length": 32, "width": 16, "depth": 1, "heads": 2, "batch": 4, "picture_every": 0}
    um.recipe.text(folder=folder / "books", steps=2, **sizes).fit(folder / "run", device="cpu", quiet=True)
    return folder / "run"


@pytest.fixture(scope="module")
def model(run):
    return um.load(run, device="cpu")


@pytest.mark.parametrize("pad", ["", "x", "xx", "xxx"])
@pytest.mark.parametrize("filler", ["Привет, мир. ", "猫は可愛い。", "é\u0301🙂\r\n"])
def test_a_text_longer_than_the_model_comes_back_whole(model, filler, pad):
    before, after = filler * 10 + pad, pad + filler * 10
    (made,) = model.infill(before + GAP_MARKER + after, tokens=3, steps=2)
    assert made.startswith(before)
    assert made.endswith(after)


@pytest.mark.parametrize("content", [b"ab\r\ncd<gap>ef\r\n", codecs.BOM_UTF8 + b"ab\rcd<gap>", b"<gap>\n\nef\x00\x0b"])
@pytest.mark.parametrize("to_file", [True, False])
def test_infill_on_the_command_line_gives_back_the_bytes_of_the_text(run, tmp_path, capsysbinary, content, to_file):
    (tmp_path / "d.txt").write_bytes(content)
    asked = ["infill", str(run), str(tmp_path / "d.txt"), "--tokens", "2", "--steps", "2", "--device", "cpu"]
    assert main([*asked, *(["--out", str(tmp_path / "o.txt")] if to_file else [])]) == 0
    made = (tmp_path / "o.txt").read_bytes() if to_file else capsysbinary.readouterr().out
    before, after = content.split(b"<gap>")
    assert made.startswith(before)
    assert made.endswith(after)
    made[len(before) : len(made) - len(after)].decode()


@pytest.mark.parametrize("text", ["\udce9", "a\ud800b"])
def test_halves_of_surrogate_pairs_are_refused_with_a_sentence(model, run, text):
    calls = [
        lambda: model.sample(1, prompt=text, steps=2),
        lambda: model.sample(1, suffix=text, steps=2),
        lambda: model.infill(text + GAP_MARKER),
        lambda: model.log_likelihood(text),
        lambda: BPE(()).encode(text) if pytest.importorskip("tokenizers") else None,
        lambda: Bytes().encode(text),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="surrogate"):
            call()
    assert main(["sample", str(run), "--prompt", text, "--steps", "2", "--device", "cpu"]) == 2


TOO_LONG = [
    {"prompt": "the sea and the sky, " * 4},
    {"suffix": "it's the end. " * 4},
    {"prompt": "abc " * 20, "suffix": "xyz " * 20},
    {"prompt": "abc " * 6, "suffix": "d" * 9},
    {"prompt": "猫は可愛い。" * 9},
    {"prompt": "a" * 12, "length": 8},
]


@pytest.mark.parametrize("asked", TOO_LONG, ids=str)
def test_what_is_advised_for_a_text_that_is_too_long_works(model, run, asked):
    with pytest.raises(UsageError, match="tokens") as caught:
        model.sample(1, steps=2, **asked)
    advised = eval(f"dict({caught.value.instead})")
    model.sample(1, steps=2, **(asked | advised))
    options = re.findall(r"--(\w+) ('[^']*'|\S+)", as_option(caught.value.instead))
    given = asked | {name: value.strip("'") for name, value in options}
    assert options
    command = ["sample", str(run), "--steps", "2", "--device", "cpu"]
    assert main([*command, *(word for name, value in given.items() for word in (f"--{name}", str(value)))]) == 0


def test_what_is_advised_for_gaps_that_are_too_long_works(model):
    text = f"ab{GAP_MARKER}cd{GAP_MARKER}ef"
    for tokens in (40, 0):
        with pytest.raises(UsageError, match="gaps that take") as caught:
            model.infill(text, tokens=tokens, steps=1)
        assert model.infill(text, steps=1, **eval(f"dict({caught.value.instead})"))[0].startswith("ab")


def test_settings_are_written_as_options():
    assert as_option("length=32") == "--length 32"
    assert as_option("prompt='the sea', suffix='it ends'") == "--prompt 'the sea' --suffix 'it ends'"
    assert as_option("UNet(..., lr=0.001)") == "--lr 0.001"
    assert as_option("length=32, bare=True") == "--length 32 --bare"
    assert as_option("a smaller lr, or more") == "a smaller lr, or more"
    assert as_option("model.sample(16, label=3)") == "model.sample(16, label=3)"


def test_nothing_to_judge_is_nothing_or_a_sentence(model):
    assert model.log_likelihood([]).value.shape == (0,)
    assert model.log_likelihood(torch.zeros(0, 32, dtype=torch.int64)).error.shape == (0,)
    with pytest.raises(UsageError, match="no questions"):
        model.score(Questions((), ()))
