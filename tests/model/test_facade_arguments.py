"""Every argument of the facades arrives where it acts, as it was given."""

import math

import pytest
import torch
from jaxtyping import config
from torch import nn

import unmelt as um
from unmelt.codec import Symbols
from unmelt.condition import Condition
from unmelt.data import GAP_MARKER, Arrays
from unmelt.denoiser import TokenDenoiser
from unmelt.guidance import CFG, AllowedTokens, Temperature, TopP
from unmelt.likelihood import Estimate, Exact, Hutchinson
from unmelt.metric import collect_samples
from unmelt.model import TextModel, tuning
from unmelt.model import model as module
from unmelt.objective import AnyOrder
from unmelt.process import Mask
from unmelt.rng import RowSeeds, fold
from unmelt.sampler import DPMpp, Euler, grid
from unmelt.sampler.tokens import Confidence, FirstHitting, Unmask


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.fixture
def model():
    made = um.recipe.ring(width=8, depth=1, modes=3, steps=1, batch=8)
    for parameter in made.denoiser.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return made


# Numbers


def test_a_request_holds_what_was_asked_for(model):
    given = {
        "guidance": 2.0,
        "interval": (0.1, 0.7),
        "steps": 9,
        "seed": 5,
        "sampler": Euler(),
        "grid": grid.uniform(3),
    }
    request = model.request(4, label=[0, 1, 2, 0], **given)
    assert {name: getattr(request, name) for name in given} == given
    assert request.rows == 4
    assert request.condition.label.tolist() == [0, 1, 2, 0]
    steered = request.steer(model.denoiser)
    assert isinstance(steered, CFG)
    assert (steered.scale, steered.interval) == (2.0, (0.1, 0.7))
    own = model.request(2, label=1, guidance=[1.5, 3.0], interval=(0.2, 0.9))
    assert own.steer(model.denoiser).interval == (0.2, 0.9)
    assert own.row_condition.guidance_scale.tolist() == [1.5, 3.0]


@pytest.mark.parametrize("verb", ["sample", "trajectory"])
@pytest.mark.parametrize(
    "change",
    [
        {"label": 2},
        {"guidance": 3.0},
        {"interval": (0.3, 0.6)},
        {"steps": 5},
        {"seed": 1},
        {"sampler": DPMpp(2)},
        {"grid": grid.uniform(6)},
        {"condition": Condition(label=torch.tensor([2])), "label": None},
    ],
    ids=str,
)
def test_every_argument_of_sampling_changes_what_is_sampled(model, verb, change):
    base = {"label": 1, "guidance": 2.0, "steps": 6, "seed": 0, "sampler": Euler()}

    def made(**settings):
        if verb == "sample":
            return model.sample(3, **settings)
        *_, last = model.trajectory(3, **settings)
        return last.x

    plain, changed = made(**base), made(**{**base, **change})
    assert torch.equal(plain, made(**base))
    assert (plain - changed).abs().max() > 1e-4


def test_sampling_is_the_sampler_on_the_guided_denoiser(model):
    found = model.sample(3, label=[0, 1, 2], guidance=2.5, interval=(0.1, 0.9), sampler=Euler(), steps=4, seed=7)
    wanted = um.sample(
        CFG(model.denoiser, 2.5, (0.1, 0.9)), rows=3, label=[0, 1, 2], sampler=Euler(), grid=grid.balanced(4), seed=7
    )
    torch.testing.assert_close(found, model.codec.decode(wanted))
    *_, frame = model.trajectory(
        3, label=[0, 1, 2], guidance=2.5, interval=(0.1, 0.9), sampler=Euler(), steps=4, seed=7
    )
    torch.testing.assert_close(frame.x, found)


def test_frames_are_scaled_to_the_size_of_data_and_show_the_belief(model):
    frames = list(model.trajectory(2, label=1, sampler=Euler(), steps=4, seed=7))
    states = list(um.trajectory(model.denoiser, rows=2, label=1, sampler=Euler(), grid=grid.balanced(4), seed=7))
    for frame, state in zip(frames, states, strict=True):
        alpha, sigma = model.denoiser.process.level(state.t)
        size = torch.sqrt(alpha**2 + (sigma / model.denoiser.data_sd) ** 2)[:, None]
        torch.testing.assert_close(frame.x, model.codec.decode(state.x / size).float())
        torch.testing.assert_close(frame.x0, model.codec.decode(state.x0))
        assert frame.t == state.t[0].item()


def test_edit_starts_from_the_data_and_steers_like_sampling(model):
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    base = {"strength": 0.6, "label": [0, 1, 2], "guidance": 2.0, "steps": 5, "seed": 3}
    model.sampler = Euler()
    found = model.edit(x, **base)
    *_, last = um.sampler.edit(
        CFG(model.denoiser, 2.0),
        model.encode(x),
        strength=0.6,
        sampler=Euler(),
        grid=grid.balanced(5),
        seed=3,
        condition=Condition(label=torch.tensor([0, 1, 2])),
    )
    torch.testing.assert_close(found, model.decode(last.x))
    changes = [{"strength": 0.7}, {"label": 1}, {"guidance": 3.0}, {"steps": 6}, {"seed": 4}]
    changes.append({"label": None, "condition": Condition(label=torch.tensor([2, 2, 2]))})
    for change in changes:
        assert (model.edit(x, **{**base, **change}) - found).abs().max() > 1e-4
    assert (model.edit(x + 1, **base) - found).abs().max() > 1e-4


def test_captions_reach_the_condition_of_every_verb():
    asked = []

    class Encoder:
        width = 4

        def __call__(self, captions):
            asked.append(captions)
            return torch.zeros(len(captions), 2, 4), torch.ones(len(captions), 2, dtype=torch.bool)

    made = um.recipe.ring(width=8, depth=1, modes=3, steps=1, batch=8)
    made.encoder, made.denoiser.backbone.sequence_width = Encoder(), 4
    made.request(2, caption="a ring")
    made.condition_of(2, None, ["one", "two"])
    x = torch.zeros(2, 2)
    made.sample_request = lambda request: asked.append(request.condition.sequence.shape) or x
    made.edit(x, strength=0.5, caption=["one", "two"])
    assert asked == [["a ring"] * 2, ["one", "two"], ["one", "two"], (2, 2, 4)]


def test_evaluate_samples_as_told_and_scores_with_the_classes_of_the_training_data(model, monkeypatch):
    asked, scored = {}, []

    def sample(rows, **settings):
        asked.update(settings, rows=rows)
        return torch.zeros(rows, 2)

    monkeypatch.setattr(model, "sample", sample)

    class Spy:
        def samples_to_score(self, real):
            return real + 1

        def score(self, made, real, held_out):
            scored.append((made, real, held_out))
            return {"figure": 1.5}

    model.modality = Spy()
    found = model.evaluate(samples=7, steps=3, guidance=4.0, seed=9)
    real, held_out = collect_samples(model.source), collect_samples(model.held_out)
    assert {name: asked[name] for name in ("rows", "steps", "guidance", "seed")} == {
        "rows": 7,
        "steps": 3,
        "guidance": 4.0,
        "seed": 9,
    }
    assert torch.equal(asked["label"], real.labels[:7])
    made, *others = scored[0]
    assert torch.equal(made.labels, real.labels[:7])
    for told, wanted in zip(others, (real, held_out), strict=True):
        assert torch.equal(told.x, wanted.x)
        assert torch.equal(told.labels, wanted.labels)
    assert found == {"figure": 1.5, "samples": 7, "steps": 3, "guidance": 4.0, "seed": 9}
    assert model.evaluate()["samples"] == len(real.x) + 1
    assert torch.equal(asked["label"], torch.cat([real.labels, real.labels[:1]]))
    assert (asked["guidance"], asked["seed"]) == (1.0, 0)


def test_tune_hands_on_all_that_it_is_given(model, monkeypatch):
    asked = {}

    def tune(denoiser, steps, noise, condition, rounds, progress=None):
        asked.update(denoiser=denoiser, steps=steps, noise=noise, condition=condition, rounds=rounds)
        return um.sampler.TuneResult(um.sampler.Tuned((1.0, 0.5, 0.0), ((), (0.0,)), (0.0, 0.0)), 1.0, 0.5)

    monkeypatch.setattr(tuning, "tune", tune)
    result = model.tune(2, guidance=3.0, rows=20, rounds=4, seed=6, quiet=True)
    assert (asked["steps"], asked["rounds"]) == (2, 4)
    assert asked["denoiser"].scale == 3.0
    assert asked["condition"].label.tolist() == [k % 3 for k in range(20)]
    assert torch.equal(asked["noise"], model.denoiser.process.prior((20, 2), RowSeeds.of(fold(6, 1), 20)))
    assert result.sampler.guidance == 3.0
    assert model.tuned == (result.sampler,)
    model.tune(2, condition=Condition(label=torch.tensor([2])), rows=16, quiet=True)
    assert asked["condition"].label.tolist() == [2] * 16
    assert asked["rounds"] == 12
    assert asked["denoiser"] is model.denoiser
    assert [one.guidance for one in model.tuned] == [3.0, 1.0]


def test_the_log_likelihood_is_that_of_the_latents_and_the_scale_of_the_codec(model, monkeypatch):
    x, known, asked = torch.randn(3, 2), Condition(label=torch.tensor([0, 1, 2])), []

    def spy(denoiser, z, condition, divergence):
        asked.append((denoiser, z, condition.label.tolist()))
        return Estimate(z.double().sum(1), torch.zeros(3).double())

    monkeypatch.setattr(module, "log_likelihood", spy)
    z = model.codec.encode(x)
    for given in ({"label": [0, 1, 2]}, {"condition": known}):
        found = model.log_likelihood(x, **given).value
        torch.testing.assert_close(found, z.double().sum(1) - 2 * math.log(model.codec.scale))
    torch.testing.assert_close(model.log_likelihood(x, label=1, space="latent").value, z.double().sum(1))
    assert all(denoiser is model.denoiser and torch.equal(shown, z) for denoiser, shown, _ in asked)
    assert [label for _, _, label in asked] == [[0, 1, 2], [0, 1, 2], [1, 1, 1]]


def test_long_rows_have_their_divergence_estimated_by_as_many_probes_as_told(model, monkeypatch):
    asked = []
    monkeypatch.setattr(
        module,
        "log_likelihood",
        lambda denoiser, z, known, divergence: asked.append((known, divergence)) or Estimate(z[:, 0], z[:, 0]),
    )
    model.log_likelihood(torch.zeros(3, 2))
    monkeypatch.setattr(module, "FEW_DIMENSIONS", 1)
    model.log_likelihood(torch.zeros(3, 2), label=2, probes=5, seed=4)
    (_, exact), (known, probed) = asked
    assert exact == Exact()
    assert isinstance(probed, Hutchinson)
    assert probed.probes == 5
    assert torch.equal(probed.rng.seeds, RowSeeds.of(4, 3).seeds)
    assert known.label.tolist() == [2, 2, 2]


# Text

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
