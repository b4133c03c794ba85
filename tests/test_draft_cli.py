"""`unmelt draft`: the text is the language model's, the summary counts its passes, and mistakes are one sentence."""

import json
import re
import sys

import pytest
import torch
from interop.language_models import causal_model, letter_tokenizer

import unmelt as um
from unmelt.cli import main
from unmelt.drafting import NGram, TransformersVerifier, decode

SMALL = {"length": 24, "layers": (1, 2), "block": 3, "context": 8, "heads": 2, "places": 4, "picture_every": 0}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A language model, text, and the run of a drafter."""
    top = tmp_path_factory.mktemp("draft")
    causal_model(top / "verifier")
    (top / "books").mkdir()
    (top / "books" / "a.txt").write_text("the sea was calm. " * 40, encoding="utf-8")
    made = um.recipe.drafter(verifier=top / "verifier", text=top / "books", steps=1, batch=2, **SMALL)
    made.fit(top / "run", "cpu", quiet=True)
    return top


def told(capsys, *args):
    """What a command prints as JSON."""
    assert main(["draft", *map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def greedy(places, prompt, tokens):
    verifier = TransformersVerifier.load(places / "verifier")
    tokenizer = verifier.tokenizer
    how = {"temperature": 0.0, "end_token": tokenizer.eos_token_id}
    found = decode(verifier, [tokenizer.encode(prompt)], tokens, drafter=NGram(), block=8, **how)
    return prompt + tokenizer.decode(found.tokens[0], skip_special_tokens=True), found


def test_whoever_drafts_the_greedy_text_is_the_language_models(places, capsys):
    truth, found = greedy(places, "the sea, the sea", 20)
    for args in (
        [places / "run"],
        [places / "run", "--drafter", "network"],
        [places / "run", "--drafter", "none"],
        [places / "run", "--block", "2"],
        [places / "run", "--block", "9"],
        [places / "verifier"],
    ):
        scores = told(capsys, *args, "--prompt", "the sea, the sea", "--tokens", 20)
        assert scores["text"] == truth
        assert scores["tokens"] == len(found.tokens[0])
        assert scores["tokens_a_pass"] == pytest.approx(scores["tokens"] / scores["passes"])
        assert scores["tokens"] == scores["passes"] + scores["accepted"]
        if "none" in args:
            assert scores["passes"] == scores["tokens"]
            assert scores["drafts"] == scores["drafted"] == 0
    assert (scores["passes"], scores["drafted"], scores["accepted"]) == (
        found.passes[0],
        found.drafted[0],
        found.accepted[0],
    )


def test_sampled_text_depends_on_the_seed(places, capsys):
    texts = [
        told(capsys, places / "run", "--prompt", "the", "--temperature", 1, "--top-p", 0.9, "--seed", seed)["text"]
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_a_pipe_gets_the_text_and_a_terminal_is_told_what_was_cut(places, capsys, monkeypatch):
    truth, found = greedy(places, "the sea, the sea", 20)
    command = ["draft", str(places / "verifier"), "--prompt", "the sea, the sea", "--tokens", "20"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out == truth + "\n"
    assert f"{len(found.tokens[0])} tokens in {found.passes[0]} passes" in err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "\x1b[9;31m" in shown  # struck out in red
    assert ("\x1b[32m" in shown) == (found.accepted[0] > 0)
    rejected = re.sub(r"\x1b\[9;31m.*?\x1b\[0m", "", shown, flags=re.DOTALL)
    plain = re.sub(r"\x1b\[[\d;]*m", "", rejected)
    assert re.sub(r"\\x..|\\u....|[^ -~]", "", plain).startswith("the sea, the sea")


def test_an_autoregressive_run_of_this_library(tmp_path, capsys):
    from unmelt.backbone import Transformer
    from unmelt.rng import seeded

    tokenizer, length = um.codec.Bytes(), 24
    masks = um.process.Mask(tokenizer.vocabulary)
    with seeded(0):
        sizes = {"vocabulary": tokenizer.vocabulary, "length": length, "width": 16, "depth": 1, "heads": 2, "block": 1}
        network = Transformer(input_vocabulary=masks.symbols, **sizes)
        torch.nn.init.normal_(network.out.weight, std=0.5)
    denoiser = um.denoiser.Autoregressive(network, masks, (length,))
    sampler = um.sampler.tokens.Unmask(um.sampler.tokens.LeftToRight(), cache=True)
    um.TextModel(denoiser=denoiser, codec=tokenizer, sampler=sampler, grid=um.grid.uniform(length)).save(tmp_path)
    plain = told(capsys, tmp_path, "--prompt", "aba", "--tokens", 12, "--drafter", "none")
    found = told(capsys, tmp_path, "--prompt", "aba", "--tokens", 12)
    assert found["text"] == plain["text"]
    assert found["passes"] <= plain["passes"]
    assert found["drafted"] > 0


def test_mistakes_are_one_message(places, capsys, tmp_path):
    um.recipe.ring(steps=1, batch=4, width=8, depth=1).fit(tmp_path / "ring", "cpu", quiet=True)
    (tmp_path / "cut").mkdir()
    for file in (places / "run").iterdir():
        if file.is_file():
            (tmp_path / "cut" / file.name).write_bytes(file.read_bytes())
    whole = (tmp_path / "cut" / "network.safetensors").read_bytes()
    (tmp_path / "cut" / "network.safetensors").write_bytes(whole[:100])
    (tmp_path / "half.gguf").write_bytes(b"GGUF")
    run = str(places / "run")
    for args, said in [
        ([run, "--prompt", "the sea " * 60], "1 to 63 tokens"),
        ([run], "a prompt of 0 tokens"),
        ([run, "--prompt", "the", "--tokens", "0"], "--tokens 0"),
        ([run, "--prompt", "the", "--drafter", "network", "--block", "9"], "at most 3 tokens"),
        ([run, "--prompt", "the", "--temperature", "-1"], "temperature of -1"),
        ([run, "--prompt", "the", "--top-p", "2"], "top_p"),
        ([run, "--prompt", "the", "--drafter", "nobody"], "one of own, lookup"),
        ([str(places / "verifier"), "--prompt", "the", "--drafter", "network"], "without a trained drafter"),
        ([str(tmp_path / "ring"), "--prompt", "the"], "neither a drafter nor"),
        ([str(tmp_path / "cut"), "--prompt", "the"], "cannot be read"),
        ([str(tmp_path / "half.gguf"), "--prompt", "the"], "half.gguf"),
        ([str(tmp_path / "none.gguf"), "--prompt", "the"], "none.gguf"),
        ([str(tmp_path / "nowhere"), "--prompt", "the"], "there is no run folder"),
    ]:
        assert main(["draft", *args]) == 2, args
        shown = capsys.readouterr()
        assert said in shown.err
        assert len(shown.err.splitlines()) <= 3
        assert not shown.out


def test_a_language_model_that_is_not_the_drafters_is_one_message(places, capsys, tmp_path):
    folder, text = tmp_path / "verifier", places / "books"
    causal_model(folder)
    um.recipe.drafter(verifier=folder, text=text, steps=1, batch=2, **SMALL).fit(tmp_path / "run", "cpu", quiet=True)
    for said, change in [
        ("another tokenizer", lambda: letter_tokenizer(folder, merges=("t h", "h e", "Ġ s"))),
        ("other weights", lambda: causal_model(folder, seed=1)),
        ("depth 2 there, 3 here", lambda: causal_model(folder, num_hidden_layers=3)),
    ]:
        change()
        capsys.readouterr()
        assert main(["draft", str(tmp_path / "run"), "--prompt", "the"]) == 2
        shown = capsys.readouterr()
        assert f"another verifier ({said})" in shown.err
        assert len(shown.err.splitlines()) <= 3
        assert not shown.out
