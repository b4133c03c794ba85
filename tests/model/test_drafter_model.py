"""Drafters from training to use: they learn, resume bit for bit, come back, and are refused for others."""

import json
from dataclasses import replace

import pytest
import torch
from interop.language_models import causal_model, letter_tokenizer

import unmelt as um
from unmelt.cli import main
from unmelt.drafting import (
    DraftStep,
    HiddenDrafter,
    LookupFirst,
    PretrainedVerifier,
    TransformersVerifier,
    best_block,
    decode,
)
from unmelt.drafting.own_text import own_rows, token_rows
from unmelt.model.drafter_model import LOOKUP, _prompts

SMALL = {"length": 24, "layers": (1, 2), "block": 3, "context": 8, "heads": 2, "places": 8, "picture_every": 0}
SMALL |= {"precision": "float32"}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of a verifier and of text."""
    top = tmp_path_factory.mktemp("drafting")
    model, _ = causal_model(top / "verifier")
    with torch.no_grad():
        model.lm_head.weight *= 6  # laws that say something
    model.save_pretrained(top / "verifier")
    (top / "books").mkdir()
    for number in range(4):
        (top / "books" / f"{number}.txt").write_text(f"the sea was {number} calm. " * 12, encoding="utf-8")
    return {"verifier": top / "verifier", "text": top / "books"}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def fitted(places, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "drafter"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNMELT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        made = um.recipe.drafter(**places, own_text=40, own_temperature=0.0, steps=80, lr=3e-2, ema=0.9, **SMALL)
        return made.fit(out, "cpu", quiet=True)


def weights(model):
    return model.weights()["network"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_it_learns_what_the_verifier_writes_and_the_text_stays_the_verifiers(fitted, places):
    untrained = um.recipe.drafter(**places, **SMALL)
    before, after = untrained.evaluate(samples=4, tokens=16), fitted.evaluate(samples=4, tokens=16)
    assert after["tokens_a_pass"] > before["tokens_a_pass"] + 0.1
    assert 0 < after["accepted_1"] <= 1
    verifier = fitted.drafter.verifier
    prompts = [[k] for k in range(1, 9)]
    plain = decode(verifier, prompts, 12, temperature=0.0)
    for each in (fitted, untrained):
        drafter = replace(each.drafter, temperature=0.0)
        assert decode(verifier, prompts, 12, drafter=drafter, block=3, temperature=0.0).tokens == plain.tokens
    (text,) = fitted.sample("the sea", tokens=12, temperature=0.0)
    prompt = verifier.tokenizer.encode("the sea")
    end = verifier.tokenizer.eos_token_id
    truth = decode(verifier, [prompt], 12, temperature=0.0, end_token=end).tokens[0]
    assert text == "the sea" + verifier.tokenizer.decode(truth, skip_special_tokens=True)
    one = decode(verifier, prompts[:3], 8, drafter=fitted.drafter, block=3, seed=[1, 2, 3])
    assert one.tokens[1] == decode(verifier, prompts[1:2], 8, drafter=fitted.drafter, block=3, seed=[2]).tokens[0]


def test_the_score_is_tokens_by_passes(fitted):
    scores = fitted.evaluate(samples=3, tokens=10)
    prompts = _prompts(fitted.held_out, 3)
    drafter = replace(fitted.drafter, temperature=0.0)
    found = decode(drafter.verifier, prompts, 10, drafter=drafter, block=3, temperature=0.0)
    assert scores["tokens_a_pass"] == pytest.approx(30 / sum(found.passes))
    assert [len(each) for each in prompts] == [12] * 3
    for name, each in (("lookup", LOOKUP), ("lookup_first", LookupFirst(LOOKUP, drafter))):
        found = decode(drafter.verifier, prompts, 10, drafter=each, block=3, temperature=0.0)
        assert scores[name] == pytest.approx(30 / sum(found.passes))


def test_the_best_block_is_that_of_measured_costs(fitted, monkeypatch):
    scores = fitted.evaluate(samples=2, tokens=10)
    accepted = [scores[f"accepted_{k}"] for k in (1, 2, 3)]
    for costs in ([10.0] * 4, [10.0, 1e6, 1e6, 1e6]):
        monkeypatch.setattr("unmelt.model.drafter_model.pass_milliseconds", lambda *_, costs=costs: costs)
        found = fitted.best_block(samples=2, tokens=10)
        truth = [best_block(costs, accepted, ms).block for ms in (0.0, 1e9)]
        assert found.block in truth
    assert found.block == 0


def test_it_comes_back_from_its_folder(fitted, places):
    again = um.load(fitted.folder, "cpu")
    assert isinstance(again, um.DrafterModel)
    assert same(weights(again), weights(fitted))
    assert "verifier" not in again.verifier.__dict__
    assert um.recipe.with_data(fitted.folder, "cpu").evaluate(samples=2, tokens=6) == fitted.evaluate(
        samples=2, tokens=6
    )
    verifier = TransformersVerifier.load(places["verifier"])
    loaded = HiddenDrafter.load(fitted.folder, verifier)
    x, lengths, hidden = torch.tensor([[3, 4, 5]]), torch.tensor([[3]]), torch.randn(1, 3, 32)
    with torch.no_grad():
        assert torch.equal(loaded.logits(x, lengths, hidden), fitted.drafter.logits(x, lengths, hidden))
    assert {each.name for each in fitted.folder.glob("*.safetensors")} == {"network.safetensors"}


def test_an_interrupted_run_goes_on_bit_for_bit(places, tmp_path, monkeypatch):
    given = {**places, "own_text": 8, "steps": 9, "save_every": 3, "batch": 4, **SMALL}
    whole = um.recipe.drafter(**given).fit(tmp_path / "whole", "cpu", quiet=True)
    took, loss = [], DraftStep._loss

    def interrupted(self, batch, rng):
        took.append(batch.step)
        if len(took) == 6:
            raise RuntimeError("the machine stops")
        return loss(self, batch, rng)

    monkeypatch.setattr(DraftStep, "_loss", interrupted)
    with pytest.raises(RuntimeError):
        um.recipe.drafter(**given).fit(tmp_path / "part", "cpu", quiet=True)
    part = um.recipe.resumed(tmp_path / "part").fit(tmp_path / "part", "cpu", quiet=True)
    assert took[6:] == [3, 4, 5, 6, 7, 8]
    assert same(weights(part), weights(whole))
    with pytest.raises(um.UsageError, match="places is 8 there, 2 here"):
        um.recipe.drafter(**{**given, "places": 2}).fit(tmp_path / "part", "cpu", quiet=True)


def test_the_verifiers_own_text_is_written_once(places, tmp_path, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path))
    verifier = TransformersVerifier.load(places["verifier"])
    described = PretrainedVerifier.of(verifier)
    rows = token_rows(["the sea " * 200], verifier, 12)
    made = own_rows(described, rows[:40], 3, 0.0)
    assert torch.equal(made[:, :3], rows[:40, :3])
    truth = decode(verifier, rows[:1, :3].tolist(), 9, temperature=0.0).tokens[0]
    assert made[0, 3:].tolist() == truth
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    monkeypatch.setattr("unmelt.drafting.own_text.decode", None)
    assert torch.equal(own_rows(described, rows[:40], 3, 0.0), made)
    with pytest.raises(TypeError):
        own_rows(described, rows[:40], 3, 0.5)


def test_half_of_what_is_learned_is_the_verifiers_own(places):
    plain = um.recipe.drafter(**places, **SMALL).source.values
    mixed = um.recipe.drafter(**places, own_text=8, **SMALL).source.values
    assert torch.equal(mixed[: len(plain)], plain)
    assert len(plain) <= len(mixed) - len(plain) + 8 <= len(plain) + 8
    assert len(mixed[len(plain) :].unique(dim=0)) == 8


def test_an_untrained_drafter_knows_nothing_and_is_not_sure_of_it(places):
    made = um.recipe.drafter(**places, **SMALL)
    x = made.source.values[:4]
    lengths, hidden = torch.full((4, 1), 9), torch.randn(4, 24, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = made.drafter.logits(x, lengths, hidden)
    assert 0.5 < logits.std() < 1.5


def test_the_most_frequent_tokens_are_drafted(places, tmp_path):
    made = um.recipe.drafter(**places, words=20, steps=1, batch=2, **SMALL)
    counts = made.source.values.flatten().bincount(minlength=made.verifier.vocabulary)
    drafted = made.network.drafted
    assert drafted.tolist() == sorted(set(drafted.tolist()))
    rest = torch.ones(len(counts), dtype=torch.bool).index_fill(0, drafted, False)
    assert counts[drafted].min() >= counts[rest].max()
    made.fit(tmp_path / "run", "cpu", quiet=True)
    again = um.load(tmp_path / "run", "cpu")
    assert torch.equal(again.network.drafted, drafted)
    assert again.sample("the sea", tokens=4) == made.sample("the sea", tokens=4)
    assert um.recipe.drafter(**places, **SMALL).network.words == 0  # the verifier has fewer than the default


# What is refused


def refused(call):
    with pytest.raises(um.UsageError) as found:
        call()
    return str(found.value)


def test_a_drafter_of_another_verifier(fitted, tmp_path):
    others = {"other weights": {"seed": 1}, "width 16 there, 32 here": {"hidden_size": 32}}
    others["depth 2 there, 3 here"] = {"num_hidden_layers": 3}
    for number, (said, how) in enumerate(others.items()):
        causal_model(tmp_path / str(number), **how)
        verifier = TransformersVerifier.load(tmp_path / str(number))
        assert said in refused(lambda verifier=verifier: HiddenDrafter.load(fitted.folder, verifier))


def test_a_drafter_of_a_verifier_with_another_tokenizer(fitted, places, tmp_path):
    verifier = TransformersVerifier.load(places["verifier"])
    other = letter_tokenizer(tmp_path, merges=("t h", "h e", "Ġ s"))
    verifier.tokenizer = other
    assert "another tokenizer" in refused(lambda: fitted.drafter_for(verifier))


def test_the_weights_in_bfloat16_are_the_same_verifiers(fitted, places):
    verifier = TransformersVerifier.load(places["verifier"])
    verifier.model.bfloat16()
    fitted.drafter_for(verifier)


def test_a_verifier_that_is_gone_or_was_changed(places, tmp_path):
    causal_model(tmp_path / "mine")
    made = um.recipe.drafter(verifier=tmp_path / "mine", text=places["text"], steps=1, **SMALL)
    made.fit(tmp_path / "run", "cpu", quiet=True)
    causal_model(tmp_path / "mine", seed=3)
    assert "other weights" in refused(lambda: um.load(tmp_path / "run").drafter)
    (tmp_path / "mine").rename(tmp_path / "yours")
    assert f"whose verifier is not at {tmp_path / 'mine'}" in refused(lambda: um.load(tmp_path / "run").drafter)


def test_damaged_files(fitted, tmp_path):
    fitted.save(tmp_path)
    file = tmp_path / "network.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refused(lambda: um.load(tmp_path))
    file.unlink()
    assert "no network.safetensors" in refused(lambda: um.load(tmp_path))


def test_prompts_that_do_not_fit(fitted):
    assert "prompts of 1 to 63 tokens" in refused(lambda: fitted.sample("the sea " * 60))
    assert "prompts of 1 to 63 tokens" in refused(lambda: fitted.sample(""))


def test_a_run_inside_of_its_text(places):
    made = um.recipe.drafter(**places, steps=1, **SMALL)
    assert "inside of the folder of the data" in refused(lambda: made.fit(places["text"] / "run", "cpu", quiet=True))


def test_settings_that_do_not_fit(places, tmp_path):
    for how, said in [
        ({"length": 100}, "length=100 for a verifier of 64 tokens"),
        ({"length": 4}, "length=4 for blocks of 3"),
        ({"layers": (1, 9)}, "layers (1, 9)"),
        ({"own_text": -1}, "own_text=-1"),
        ({"places": 0}, "places=0"),
    ]:
        assert said in refused(lambda how=how: um.recipe.drafter(**places, **{**SMALL, **how}).drafter)
    assert "there is no language model" in refused(lambda: um.recipe.drafter(**{**places, "verifier": places["text"]}))
    (tmp_path / "short.txt").write_text("the", encoding="utf-8")
    assert "less than one row" in refused(lambda: um.recipe.drafter(**{**places, "text": tmp_path}, **SMALL))


def test_the_command_line(places, tmp_path, capsys):
    out = tmp_path / "run"
    words = [f"--{name}={value}" for name, value in places.items()]
    small = ["--length=24", "--block=3", "--context=8", "--heads=2", "--places=4", "--picture-every=2", "--batch=2"]
    assert main(["train", "drafter", *words, f"--out={out}", "--steps=2", *small]) == 0
    assert "tokens a pass" in (out / "samples.txt").read_text(encoding="utf-8")
    assert main(["eval", str(out), "--samples=2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens_a_pass"] >= 1
    for command in (["sample"], ["serve"], ["show"]):
        code = main([*command, str(out)])
        said = capsys.readouterr()
        assert code == (0 if command == ["show"] else 2)
        assert ("unmelt draft" in said.err) == (command != ["show"])


def test_a_shared_drafter_has_no_path_of_this_machine(fitted, places, tmp_path):
    fitted.save_pretrained(tmp_path / "shared")
    for name in ("config.json", "README.md"):
        assert str(places["verifier"].parent) not in (tmp_path / "shared" / name).read_text(encoding="utf-8")
    again = um.load(tmp_path / "shared")
    again.drafter_for(TransformersVerifier.load(places["verifier"]))
