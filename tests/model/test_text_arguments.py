"""Every argument of the facade of text arrives where it acts; bits per byte and likelihoods are what they say."""

import math

import pytest
import torch
from jaxtyping import config
from torch import nn

from unmelt.codec import Symbols
from unmelt.condition import Condition
from unmelt.data import GAP_MARKER, Arrays
from unmelt.denoiser import ExactTokenDenoiser, TokenDenoiser
from unmelt.errors import UsageError
from unmelt.guidance import CFG, AllowedTokens, Temperature, TopP
from unmelt.likelihood import Estimate
from unmelt.model import TextModel
from unmelt.model.text_model import _transforms
from unmelt.objective import AnyOrder
from unmelt.process import Mask
from unmelt.rng import fold
from unmelt.sampler import grid
from unmelt.sampler.tokens import Confidence, FirstHitting, Unmask


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)


LETTERS = Symbols("abé")
LENGTH = 8


class Even(nn.Module):
    """Believes in all tokens alike."""

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, x, t, condition=None, where=None):
        logits = torch.zeros(*x.shape, LETTERS.vocabulary)
        return logits if where is None else logits[where]


def text_model(objective=AnyOrder(), **more):
    denoiser = TokenDenoiser(Even(), Mask(LETTERS.vocabulary), (LENGTH,))
    return TextModel(
        denoiser=denoiser, codec=LETTERS, sampler=FirstHitting(), grid=grid.uniform(4), objective=objective, **more
    )


PAD = LETTERS.special("padding")
ROWS = torch.tensor([[0, 1, 2, 2, 0, 0, 1, 2], [2, 2, 1, 0, PAD, PAD, PAD, PAD], [0, 0, 0, 1, 1, 2, PAD, PAD]])
BYTES = [1, 1, 2]  # of a letter


class Told(Arrays):
    """A source whose first two tokens are known."""

    def batch(self, step, rows):
        x, _ = super().batch(step, rows)
        known = torch.full_like(x, -1)
        known[:, :2] = x[:, :2]
        return x, Condition(known_tokens=known)


class Endless:
    """A source that is no array."""

    shape, classes = (LENGTH,), ()

    def batch(self, step, rows):
        return Told(ROWS).batch(step, 3)


@pytest.mark.parametrize("objective", [AnyOrder(padding=PAD), AnyOrder(padding=PAD, equal_token_weights=True)], ids=str)
def test_bits_per_byte_of_a_uniform_belief_are_the_logarithm_of_the_vocabulary(objective):
    """Of every token that is not padding, log2(vocabulary) bits, over the bytes of those tokens."""
    lm = text_model(objective, held_out=Arrays(ROWS))
    found = lm.evaluate(draws=3, seed=1)
    tokens = [token for token in ROWS.flatten().tolist() if token != PAD]
    size = sum(BYTES[token] for token in tokens)
    assert found["bits_per_byte"] == pytest.approx(len(tokens) * math.log2(LETTERS.vocabulary) / size, rel=1e-5)
    assert found["nats_per_token"] == pytest.approx(math.log(LETTERS.vocabulary), rel=1e-5)
    assert found["bits_per_byte_error"] == pytest.approx(0, abs=1e-5)
    assert (found["bytes"], found["exact"], found["draws"], found["seed"]) == (size, False, 3, 1)
    one = lm.evaluate(rows=1)
    assert one["bytes"] == sum(BYTES[token] for token in ROWS[0].tolist())


def test_known_tokens_are_not_in_the_bits_nor_in_the_bytes():
    found = text_model(AnyOrder(padding=PAD), held_out=Endless()).evaluate()
    tokens = [token for token in ROWS[:, 2:].flatten().tolist() if token != PAD]
    size = sum(BYTES[token] for token in tokens)
    assert found["bytes"] == size
    assert found["bits_per_byte"] == pytest.approx(len(tokens) * math.log2(LETTERS.vocabulary) / size, rel=1e-5)


@torch.no_grad()
def test_the_bound_is_judged_by_whatever_the_model_was_trained_with():
    """A model with random beliefs; trained by equal weights of tokens, its likelihood is that of the bound."""

    class Other(Even):
        def forward(self, x, t, condition=None, where=None):
            one = torch.randn(9, LETTERS.vocabulary, generator=torch.Generator().manual_seed(0))
            logits = one[x] + one[x.roll(1, 1)].flip(-1)
            return logits if where is None else logits[where]

    models = [
        text_model(AnyOrder(equal_token_weights=even, bidirectional_row_fraction=share))
        for even, share in ((False, 0.0), (True, 0.5))
    ]
    found = []
    for lm in models:
        lm.denoiser.backbone = Other()
        found.append(lm.log_likelihood(["abé", "bb"], prompt="a", suffix="b", draws=6, seed=2))
    assert torch.equal(found[0].value, found[1].value)
    assert (found[0].error > 0).all()
    assert torch.equal(found[0].error, found[1].error)
    again = models[0].log_likelihood(["abé", "bb"], prompt="a", suffix="b", draws=6, seed=3)
    assert not torch.equal(again.value, found[0].value)
    assert not torch.equal(models[0].log_likelihood("abé", prompt="b", draws=6, seed=2).value, found[0].value[:1])


@torch.no_grad()
def test_a_text_has_the_likelihood_of_its_own_tokens_alone():
    found = text_model().log_likelihood(["abé", "b"], prompt=["", "aa"], suffix=["", "é"])
    torch.testing.assert_close(found.value, -torch.tensor([3.0, 1.0]).double() * math.log(LETTERS.vocabulary))
    rows = text_model().log_likelihood(ROWS)
    torch.testing.assert_close(rows.value, torch.full((3,), -LENGTH * math.log(LETTERS.vocabulary)).double())


def steered(lm, request):
    """(kind, its setting) of every wrapper around the denoiser, innermost first."""
    denoiser, found = request.steer(lm.denoiser), []
    while denoiser is not lm.denoiser:
        value = {Temperature: "temperature", TopP: "top_p", AllowedTokens: "tokens", CFG: "scale"}[type(denoiser)]
        found.append((type(denoiser), getattr(denoiser, value)))
        denoiser = denoiser.denoiser
    return found[::-1]


def test_a_request_for_text_holds_what_was_asked_for():
    lm, may = text_model(), torch.ones(LETTERS.vocabulary, dtype=torch.bool)
    given = {"steps": 9, "seed": 5, "sampler": Unmask(), "grid": grid.uniform(3), "cache_block": 2}
    request = lm.request(2, prompt="ab", suffix="é", length=6, temperature=0.5, top_p=0.8, allowed=may, **given)
    assert {name: getattr(request, name) for name in given} == given
    assert request.condition.known_tokens.tolist() == [[0, 1, -1, -1, -1, 2]] * 2
    assert steered(lm, request) == [(AllowedTokens, may), (Temperature, 0.5), (TopP, 0.8)]
    assert steered(lm, lm.request(2, prompt="ab")) == []
    told = lm.request(2, condition=Condition(vector=torch.ones(2, 3)), guidance=3.0)
    assert steered(lm, told) == [(CFG, 3.0)]


def test_infill_asks_for_what_it_is_told(monkeypatch):
    lm, asked = text_model(), []
    monkeypatch.setattr(
        lm, "sample_request", lambda request: asked.append(request) or request.condition.known_tokens.clamp_min(0)
    )
    may = torch.ones(LETTERS.vocabulary, dtype=torch.bool)
    given = {"steps": 3, "sampler": Unmask(Confidence()), "cache_block": 2}
    found = lm.infill(["a#b", "b#"], marker="#", tokens=2, seed=4, temperature=0.5, top_p=0.8, allowed=may, **given)
    assert found == ["aaab", "baa"]
    assert len(asked) == 2
    for request in asked:
        assert {name: getattr(request, name) for name in given} == given
        assert steered(lm, request) == [(AllowedTokens, may), (Temperature, 0.5), (TopP, 0.8)]
    by_length = {request.condition.known_tokens.shape[1]: request for request in asked}
    assert by_length[4].condition.known_tokens.tolist() == [[0, -1, -1, 1]]
    assert by_length[3].condition.known_tokens.tolist() == [[1, -1, -1]]
    assert (by_length[4].seed, by_length[3].seed) == ([fold(4, 0)], [fold(4, 1)])
    asked.clear()
    lm.infill([f"a{GAP_MARKER}"], seed=[9], text_is_complete=True)
    row = asked[0].condition.known_tokens[0].tolist()
    assert row == [0, -1, LETTERS.special("end"), *[PAD] * (LENGTH - 3)]
    assert asked[0].seed == [9]


def test_evaluate_of_text_draws_as_often_as_told(monkeypatch):
    drawn = []

    def bound(loss, denoiser, x0, condition, draws, seed):
        drawn.append((draws, seed, len(x0)))
        return Estimate(torch.ones(len(x0)).double(), torch.full((len(x0),), 0.5).double())

    monkeypatch.setattr("unmelt.model.text_evaluation.bound_on_tokens", bound)
    lm = text_model(held_out=Arrays(torch.zeros(70, LENGTH, dtype=torch.int64)))
    found = lm.evaluate(draws=7, seed=3)
    assert drawn == [(7, fold(3, 0), 64), (7, fold(3, 64), 6)]
    assert found["bits_per_byte"] == pytest.approx(70 / (70 * LENGTH) / math.log(2))
    assert found["bits_per_byte_error"] == pytest.approx(math.sqrt(70 * 0.25) / (70 * LENGTH) / math.log(2))
    assert found["nats_per_token"] == pytest.approx(1 / LENGTH)


@pytest.mark.parametrize("verb", ["encode", "decode"])
def test_text_in_place_of_tokens_is_refused(verb):
    with pytest.raises(UsageError, match="rows of tokens") as caught:
        getattr(text_model(), verb)("a")
    assert caught.value.instead == "model.codec.encode('a')"


def test_the_nucleus_is_taken_of_the_law_after_temperature():
    law = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    process, x_t = Mask(3), torch.tensor([[3]])
    denoiser = ExactTokenDenoiser(law[0], process)
    for transform in _transforms(0.5, None, 0.6):  # squared, the first token alone has .66
        denoiser = transform(denoiser)
    found = denoiser(x_t, torch.ones(1, dtype=torch.float64)).probabilities
    assert found.tolist() == [[[1.0, 0.0, 0.0]]]
