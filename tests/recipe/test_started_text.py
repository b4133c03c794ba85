"""A causal language model becomes a masked diffusion model: at first it is the causal model, then it learns."""

import json

import pytest
import torch
from interop.language_models import causal_model, masked_model

import unmelt as um
from unmelt.cli import main
from unmelt.objective import AttentionAnnealing
from unmelt.objective.attention_annealing import WidenedAttention

SMALL = {"length": 16, "steps": 8, "batch": 4, "save_every": 4, "picture_every": 0, "anneal": 4, "held_out": 0.2}


def started(start, books, **settings):
    return um.recipe.text(start=start, folder=books, **{**SMALL, **settings})


class Seen:
    """An objective that keeps the logits of clean rows, with whatever attention it is given."""

    def __call__(self, denoiser, x0, condition, rng):
        self.logits = denoiser(x0, torch.zeros(len(x0)), condition).logits
        return torch.zeros(len(x0))


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3", "Mistral", "GPT2"])
@torch.no_grad()
def test_before_training_with_causal_attention_it_is_the_autoregressive_model(tmp_path, books, kind):
    (tmp_path / "start").mkdir()
    few = {"n_embd": 16, "n_layer": 2, "n_head": 2} if kind == "GPT2" else {"num_key_value_heads": 1}
    theirs, tokenizer = causal_model(tmp_path / "start", kind, **few)
    model = started(tmp_path / "start", books)
    x, seen = model.source.batch(0, 3)[0], Seen()
    WidenedAttention(seen, 0.0)(model.denoiser, x, None, um.rng.Stream(0))
    begun = torch.cat([torch.full((3, 1), tokenizer.bos_token_id), x], 1)
    real = (x != model.tokenizer.padding).cummin(1).values
    truth = theirs(input_ids=begun.clamp_max(len(tokenizer) - 1)).logits[:, :-1]
    found = seen.logits[..., : len(tokenizer)]
    torch.testing.assert_close(found[real], truth[real], atol=1e-5, rtol=1e-5)
    masked = x.clone()
    masked[:, 7:] = model.denoiser.process.mask  # masks to the right of a position do not change its law
    WidenedAttention(seen, 0.0)(model.denoiser, masked, None, um.rng.Stream(0))
    torch.testing.assert_close(seen.logits[:, :8], torch.cat([found, seen.logits[..., len(tokenizer) :]], -1)[:, :8])


@torch.no_grad()
def test_attention_grows_from_causal_to_full(tmp_path, books):
    (tmp_path / "start").mkdir()
    causal_model(tmp_path / "start")
    model = started(tmp_path / "start", books)
    x, seen, shares = model.source.batch(0, 4)[0], Seen(), []
    annealing = AttentionAnnealing(objective=seen, steps=4)

    class Shares:
        process, shape = model.denoiser.process, model.denoiser.shape

        def __call__(self, x_t, t, condition):
            later = torch.ones(17, 17, dtype=torch.bool).triu(1)
            attention = condition.extra["attention"]
            assert attention[:, ~later].all()
            shares.append(attention[:, later].double().mean().item())
            return model.denoiser(x_t, t, condition)

    for step in range(4):
        annealing.at_step(step)(Shares(), x, None, um.rng.Stream(step))
    assert shares[0] == 0
    assert all(abs(share - step / 4) < 0.1 for step, share in enumerate(shares))
    annealing.at_step(4)(model.denoiser, x, None, um.rng.Stream(0))
    full = model.denoiser(x, torch.zeros(4)).logits
    assert torch.equal(seen.logits, full)
    WidenedAttention(seen, 1.0)(model.denoiser, x, None, um.rng.Stream(0))
    torch.testing.assert_close(seen.logits, full)
    WidenedAttention(seen, 0.0)(model.denoiser, x, None, um.rng.Stream(0))
    assert (seen.logits - full)[..., :50].abs().max() > 0.1


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("lora", [0, 2])
def test_a_run_is_resumed_bit_for_bit_and_loaded(tmp_path, books, tied, lora):
    (tmp_path / "start").mkdir()
    causal_model(tmp_path / "start", num_key_value_heads=1, tie_word_embeddings=tied)
    how = {"device": "cpu", "quiet": True}
    straight = started(tmp_path / "start", books, lora=lora).fit(tmp_path / "straight", **how)
    interrupted_at(started(tmp_path / "start", books, lora=lora), 4, tmp_path / "halves", how)
    again = started(tmp_path / "start", books, lora=lora).fit(tmp_path / "halves", **how)
    for name, weights in straight.weights().items():
        assert all(torch.equal(again.weights()[name][key], value) for key, value in weights.items())
    loaded = um.load(tmp_path / "halves", device="cpu")
    assert loaded.sample(2, prompt="the", steps=4, seed=1) == straight.sample(2, prompt="the", steps=4, seed=1)
    assert (loaded.active_adapter == "lora") == bool(lora)
    assert loaded.log_likelihood("the sea", draws=2).value.item() < 0


def interrupted_at(model, step, folder, how):
    """Train until a step, and stop as Ctrl-C does."""
    source = model.source

    class Stops:
        shape, classes = source.shape, source.classes

        def batch(self, number, rows):
            if number == step:
                raise KeyboardInterrupt
            return source.batch(number, rows)

    model.source = Stops()
    with pytest.raises(KeyboardInterrupt):
        model.fit(folder, **how, allow_other_data=True)


def test_an_adapter_leaves_the_model_as_it_was(tmp_path, books):
    (tmp_path / "start").mkdir()
    causal_model(tmp_path / "start")
    before = started(tmp_path / "start", books).weights()["denoiser"]
    model = started(tmp_path / "start", books, lora=2).fit(device="cpu", quiet=True)
    assert all(torch.equal(before[name], value) for name, value in model.weights()["denoiser"].items())
    assert any(value.abs().max() > 0 for name, value in model.weights()["adapter-lora"].items() if name.endswith("B"))


@torch.no_grad()
def test_from_left_to_right_with_causal_attention_it_writes_what_the_model_generates(tmp_path, books):
    (tmp_path / "start").mkdir()
    theirs, tokenizer = causal_model(tmp_path / "start")
    model = started(tmp_path / "start", books)
    known = torch.cat([torch.tensor([model.tokenizer.encode("the sea")]), torch.full((1, 5), -1)], 1)
    causal = torch.ones(1, known.shape[1] + 1, known.shape[1] + 1, dtype=torch.bool).tril()
    condition = um.Condition(known_tokens=known, extra={"attention": causal})
    how = {"sampler": um.sampler.tokens.Unmask(um.sampler.tokens.LeftToRight()), "steps": 5, "temperature": 0.0}
    ours = model.sample_request(model.request(1, condition=condition, **how))
    begun = torch.cat([torch.tensor([[tokenizer.bos_token_id]]), known[:, :-5]], 1)
    generated = theirs.generate(begun, max_new_tokens=5, min_new_tokens=5, do_sample=False, eos_token_id=None)
    assert torch.equal(ours, generated[:, 1:])


def test_the_mask_is_a_new_token_with_the_mean_embedding(tmp_path, books):
    (tmp_path / "start").mkdir()
    theirs, tokenizer = causal_model(tmp_path / "start")
    network = started(tmp_path / "start", books).denoiser.backbone
    assert network.mask_token == len(tokenizer)
    table = theirs.get_input_embeddings().weight
    embedding = network.network.get_input_embeddings().weight
    assert torch.equal(embedding[: len(tokenizer)], table)
    torch.testing.assert_close(embedding[len(tokenizer)], table.mean(0))


@pytest.mark.parametrize("lora", [0, 8])
def test_it_learns_what_is_in_the_books(tmp_path, books, lora):
    """An adapter that learned is judged too, not the model that it was made for."""
    (tmp_path / "start").mkdir()
    causal_model(tmp_path / "start", initializer_range=0.1)
    model = started(tmp_path / "start", books, steps=40, lr=2e-2, batch=8, lora=lora)
    before = model.evaluate(draws=2)["nats_per_token"]
    after = model.fit(device="cpu", quiet=True).evaluate(draws=2)["nats_per_token"]
    assert after < before - 1
    if lora:
        model.active_adapter = None
        assert abs(model.evaluate(draws=2)["nats_per_token"] - before) < 1e-4


def test_a_masked_model_starts_too_and_settings_that_do_not_go_together_are_refused(tmp_path, books):
    (tmp_path / "start").mkdir()
    masked_model(tmp_path / "start")
    model = started(tmp_path / "start", books)
    assert isinstance(model.objective, um.objective.NELBO)
    for wrong in ({"width": 64}, {"kind": "uniform"}, {"block": 4}, {"lora": -1}, {"anneal": -1}):
        with pytest.raises(um.UsageError, match=next(iter(wrong))):
            started(tmp_path / "start", books, **wrong)
    with pytest.raises(um.UsageError, match="lora=2 without a model"):
        um.recipe.text(folder=books, lora=2)


def test_the_command_line_starts_from_a_model(tmp_path, books, capsys):
    (tmp_path / "start").mkdir()
    causal_model(tmp_path / "start")
    out = str(tmp_path / "run")
    few = {"length": 16, "steps": 2, "batch": 2, "picture-every": 0, "lora": 2, "device": "cpu", "log-to": "none"}
    options = {"start": tmp_path / "start", "folder": books, "out": out, **few}
    assert main(["train", "text", *(str(each) for pair in options.items() for each in (f"--{pair[0]}", pair[1]))]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["active_adapter"] == "lora"
