"""A server whose autoregressive model verifies drafts: the same rows as in `sample`, in fewer calls."""

import pytest
import torch
from interop.language_models import causal_model
from truth.small_transformer import network

import unmelt as um
from unmelt.cli import main
from unmelt.compare.speed import count_passes
from unmelt.denoiser import Autoregressive, TokenDenoiser
from unmelt.drafting import Marginals, NGram, SpeculativeSampler
from unmelt.sampler.tokens import LeftToRight, Unmask
from unmelt.serve import Engine, EngineLimits

pytest.importorskip("fastapi")

LENGTH = 24


def text_model(is_causal=True):
    tokenizer = um.codec.Bytes()
    masks = um.process.Mask(tokenizer.vocabulary)
    kind = Autoregressive if is_causal else TokenDenoiser
    backbone = network(1 if is_causal else None, LENGTH, tokenizer.vocabulary).float()
    sampler = Unmask(LeftToRight(), cache=True) if is_causal else Unmask()
    denoiser = kind(backbone, masks, (LENGTH,))
    return um.TextModel(denoiser=denoiser, codec=tokenizer, sampler=sampler, grid=um.grid.uniform(LENGTH))


@pytest.mark.parametrize("deterministic", [False, True])
def test_rows_of_requests_that_share_batches_are_those_of_sample(deterministic):
    model = text_model()
    plain = [model.sample_request(model.request(2, prompt="abab", temperature=0.0, seed=seed)) for seed in (0, 1)]
    model.sampler = SpeculativeSampler(NGram(), block=4)
    engine = Engine(EngineLimits(batch=4), deterministic=deterministic)
    asked = [model.request(2, prompt="abab", temperature=t, seed=seed) for t, seed in ((0.0, 0), (1.0, 1))]
    alone = [model.sample_request(each) for each in asked]
    jobs = [engine.submit(model, each) for each in asked]
    with count_passes(model.denoiser.backbone) as calls:
        engine.run()
    for job, truth in zip(jobs, alone, strict=True):
        assert torch.equal(job.result(1.0), truth)
    assert torch.equal(jobs[0].result(1.0), plain[0])
    assert deterministic or calls.rows < 4 * (LENGTH - 4)


@pytest.fixture
def runs(tmp_path):
    text_model().save(tmp_path / "ar")
    text_model(False).save(tmp_path / "masked")
    return tmp_path


def served(monkeypatch, *args):
    """The models that a server is given; the exit code."""
    seen = {}
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: None)
    monkeypatch.setattr("unmelt.serve.app.application", lambda models, *_, **__: seen.update(models))
    return main(["serve", *map(str, args)]), seen


def test_the_option_gives_autoregressive_models_a_drafter(runs, monkeypatch):
    code, models = served(monkeypatch, runs / "ar", runs / "masked", "--drafter", "lookup", "--device", "cpu")
    assert code == 0
    assert models["ar"].sampler == SpeculativeSampler(NGram(), end_token=models["ar"].tokenizer.special("end"))
    assert models["masked"].sampler == Unmask()
    code, models = served(monkeypatch, runs / "ar", "--drafter", runs / "masked", "--device", "cpu")
    assert isinstance(models["ar"].sampler.drafter, Marginals)
    assert len(models["ar"].sample(2, prompt="ab", seed=1)) == 2
    code, models = served(monkeypatch, runs / "ar", "--device", "cpu")
    assert models["ar"].sampler == Unmask(LeftToRight(), cache=True)


def test_mistakes_are_one_message(runs, monkeypatch, capsys):
    um.recipe.ring(steps=1, batch=4, width=8, depth=1).fit(runs / "ring", "cpu", quiet=True)
    for args, said in [
        ([runs / "masked", "--drafter", "lookup"], "an autoregressive model of text among them"),
        ([runs / "ar", "--drafter", runs / "ring"], "drafts no blocks of text"),
        ([runs / "ar", "--drafter", runs / "ar"], "drafts no blocks of text"),
        ([runs / "ar", "--drafter", runs / "nowhere"], "there is no run folder"),
    ]:
        assert served(monkeypatch, *args, "--device", "cpu")[0] == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert len(shown.splitlines()) <= 3


def test_the_drafter_of_a_language_model_of_transformers_is_pointed_to_its_own_command(runs, monkeypatch, capsys):
    causal_model(runs / "verifier")
    (runs / "a.txt").write_text("the sea was calm. " * 40, encoding="utf-8")
    small = {"length": 24, "layers": (1, 2), "block": 3, "context": 8, "heads": 2, "places": 2, "picture_every": 0}
    made = um.recipe.drafter(verifier=runs / "verifier", text=runs / "a.txt", steps=1, batch=2, **small)
    made.fit(runs / "drafter", "cpu", quiet=True)
    (runs / "cut").mkdir()
    for file in (runs / "drafter").iterdir():
        if file.is_file():
            (runs / "cut" / file.name).write_bytes(file.read_bytes()[: 100 if file.suffix == ".safetensors" else None])
    whole, cut = runs / "drafter", runs / "cut"
    capsys.readouterr()
    for args, said in [
        ([runs / "ar", "--drafter", whole], f"which drafts for {runs / 'verifier'} alone"),
        ([runs / "ar", "--drafter", cut], "cannot be read"),
        ([whole, "--drafter", "lookup"], "a drafter, which writes with its language model"),
    ]:
        assert served(monkeypatch, *args, "--device", "cpu")[0] == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert f"unmelt draft {whole}" in shown or args[-1] == cut
        assert len(shown.splitlines()) <= 3
