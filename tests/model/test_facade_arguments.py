"""Every argument of the facade for numbers arrives where it acts, as it was given."""

import math

import pytest
import torch
from jaxtyping import config

import unmelt as um
from unmelt.condition import Condition
from unmelt.guidance import CFG
from unmelt.likelihood import Estimate, Exact, Hutchinson
from unmelt.metric import collect_samples
from unmelt.model import evaluation as module
from unmelt.model import tuning
from unmelt.rng import RowSeeds, fold
from unmelt.sampler import DPMpp, Euler, grid


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.fixture
def model():
    made = um.recipe.ring(width=8, depth=1, modes=3, steps=1, batch=8)
    for parameter in made.denoiser.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return made


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
    asked, scored = [], []

    def sample(request):
        asked.append(request)
        return torch.zeros(request.rows, 2)

    monkeypatch.setattr(model, "sample_request", sample)

    class Spy:
        def samples_to_score(self, real):
            return real + 1

        def score(self, made, real, held_out):
            scored.append((made, real, held_out))
            return {"figure": 1.5}

    model.modality = Spy()
    found = model.evaluate(samples=7, steps=3, guidance=4.0, seed=9)
    real, held_out = collect_samples(model.source), collect_samples(model.held_out)
    (request,) = asked
    assert (request.rows, request.steps, request.guidance) == (7, 3, 4.0)
    assert request.seeds == [fold(9, row) for row in range(7)]
    made, *others = scored[0]
    assert torch.equal(made.labels, request.condition.label)
    assert set(made.labels.tolist()) <= set(real.labels.tolist())
    for told, wanted in zip(others, (real, held_out), strict=True):
        assert torch.equal(told.x, wanted.x)
        assert torch.equal(told.labels, wanted.labels)
    assert found == {"figure": 1.5, "samples": 7, "steps": 3, "guidance": 4.0, "seed": 9}
    asked.clear()
    assert model.evaluate()["samples"] == len(real.x) + 1
    labels = torch.cat([request.condition.label for request in asked])
    assert torch.equal(labels, scored[1][0].labels)
    assert torch.equal(labels[:-1].bincount(), real.labels.bincount())
    assert {request.guidance for request in asked} == {1.0}
    assert [seed for request in asked for seed in request.seeds] == [fold(0, row) for row in range(len(real.x) + 1)]


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


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_tuning_learns_the_guided_model(model, monkeypatch, guidance):
    seen, tune = [], tuning.tune

    def spy(denoiser, *settings, **more):
        seen.append(denoiser)
        return tune(denoiser, *settings, **more)

    monkeypatch.setattr(tuning, "tune", spy)
    model.tune(steps=2, guidance=guidance, rows=16, rounds=1, quiet=True)
    (denoiser,) = seen
    assert isinstance(denoiser, um.guidance.CFG) == (guidance != 1)
    assert getattr(denoiser, "scale", 1.0) == guidance
