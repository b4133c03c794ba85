"""A mistake in a call is one sentence: the name or the part as it is called here, and a call that works."""

import inspect
import math
import re
from typing import TypedDict, Unpack

import numpy as np
import pytest
import torch

import unmelt as um
from unmelt.arguments import checked
from unmelt.arguments.names import ELSEWHERE, SAME
from unmelt.errors import UsageError

RING = um.denoiser.Mixture.ring(
    modes=3, radius=2.0, sd=0.15, process=um.process.Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
)
DRAW = {"rows": 2, "sampler": um.sampler.DDIM(), "grid": um.grid.karras(3)}


@pytest.fixture(scope="module")
def model():
    return um.recipe.ring(steps=2)


@pytest.mark.parametrize(
    ("change", "instead"),
    [
        ({"sampler": "ddim"}, "sampler=um.sampler.DDIM()"),
        ({"sampler": "dpm++"}, "sampler=um.sampler.DPMpp(order=2)"),
        ({"sampler": um.sampler.Euler}, "sampler=um.sampler.Euler()"),
        ({"sampler": None}, "sampler=um.sampler.DPMpp(order=2)"),
        ({"grid": "karras"}, "grid=um.grid.karras(20)"),
        ({"grid": 7}, "grid=um.grid.karras(7)"),
        ({"grid": [1.0, 0.0]}, "grid=um.grid.fixed((1.0, 0.5, 0.0))"),
        ({"grid": um.grid.cosine}, "grid=um.grid.cosine(20)"),
        ({"rows": 2.0}, "rows=2"),
        ({"rows": "4"}, "rows=4"),
        ({"rows": True}, "rows=16"),
        ({"rows": None}, "rows=16"),
        ({"seed": 1.5}, "seed=1"),
        ({"seed": True}, "seed=0"),
        ({"seed": torch.Generator()}, "seed=generator.initial_seed()"),
        ({"shape": 2}, "shape=(2,)"),
        ({"dtype": "float32"}, "dtype=torch.float32"),
        ({"device": "tpu"}, "device='cpu'"),
        ({"label": "cat"}, "label=3"),
        ({"label": [0.5, 1.0]}, "label=3"),
        ({"condition": 1}, "condition=um.Condition(label=torch.tensor([3]))"),
        ({"num_inference_steps": 20}, "um.sample(denoiser, rows=2, sampler=sampler, grid=um.grid.karras(20))"),
        ({"batch_size": 3}, "um.sample(denoiser, sampler=sampler, grid=grid, rows=3)"),
        (
            {"generator": torch.Generator()},
            "um.sample(denoiser, rows=2, sampler=sampler, grid=grid, seed=generator.initial_seed())",
        ),
        ({"scheduler": "ddim"}, "um.sample(denoiser, rows=2, grid=grid, sampler=um.sampler.DDIM())"),
        ({"sed": 3}, "um.sample(denoiser, rows=2, sampler=sampler, grid=grid, seed=...)"),
    ],
    ids=lambda one: re.sub(r" at 0x\w+", "", str(one))[:60],  # every process must name the tests alike
)
@pytest.mark.parametrize("verb", [um.sample, um.trajectory], ids=["sample", "trajectory"])
def test_a_mistake_in_a_call_names_the_call_that_works(verb, change, instead):
    with pytest.raises(UsageError) as caught:
        verb(RING, **(DRAW | change))
    assert caught.value.instead == instead.replace("um.sample(", f"um.{verb.__name__}(")


@pytest.mark.parametrize(
    ("denoiser", "instead"),
    [
        ("runs/faces", "um.load('runs/faces').sample(16)"),
        (torch.nn.Linear(2, 2), "denoiser=um.denoiser.NetworkDenoiser(network, process, prediction, shape)"),
    ],
    ids=["path", "network"],
)
def test_what_is_no_denoiser_is_refused(denoiser, instead):
    with pytest.raises(UsageError) as caught:
        um.sample(denoiser, **DRAW)
    assert caught.value.instead == instead


def test_a_model_is_sampled_by_its_own_verb(model):
    with pytest.raises(UsageError, match=r"a Model as the denoiser.*model\.sample\(16\)"):
        um.sample(model)
    with pytest.raises(UsageError, match=r"denoiser=model\.denoiser"):
        um.guidance.CFG(model, 2.0)


def test_what_is_missing_is_named():
    with pytest.raises(UsageError, match="not given its rows, sampler and grid"):
        um.sample(RING)


FOREIGN = [
    ("sample", {"num_inference_steps": 20}, "model.sample(steps=20)"),
    ("sample", {"num_steps": 20}, "model.sample(steps=20)"),
    ("sample", {"guidance_scale": 3.0}, "model.sample(guidance=3.0)"),
    ("sample", {"cfg": 3}, "model.sample(guidance=3)"),
    ("sample", {"num_samples": 4}, "model.sample(rows=4)"),
    ("sample", {"batch_size": 4}, "model.sample(rows=4)"),
    ("sample", {"n": 4}, "model.sample(rows=4)"),
    ("sample", {"generator": None}, "model.sample(seed=0)"),
    ("sample", {"class_labels": 3}, "model.sample(label=3)"),
    ("sample", {"prompt": "a cat"}, "model.sample(16, label='mode 0')"),
    ("sample", {"scheduler": "ddim"}, "model.sample(sampler=um.sampler.DDIM())"),
    ("sample", {"strength": 0.5}, "model.edit(x, strength=0.5)"),
    ("sample", {"eta": 1.0}, "model.sample(16, sampler=um.sampler.DDIM(eta=1.0))"),
    ("sample", {"height": 64}, "model.sample(size=64)"),
    ("sample", {"stepz": 3}, "model.sample(steps=...)"),
    ("trajectory", {"num_steps": 20}, "model.trajectory(steps=20)"),
    ("request", {"guidance_scale": 2.0}, "model.request(guidance=2.0)"),
    ("edit", {"x": torch.zeros(1, 2), "denoising_strength": 0.5}, "model.edit(x, strength=0.5)"),
    ("fit", {"epochs": 3}, "um.recipe.digits(steps=1000)"),
    ("fit", {"output_dir": "runs/a"}, "model.fit(out='runs/a')"),
    ("tune", {"num_steps": 5}, "model.tune(steps=5)"),
    ("evaluate", {"num_samples": 5}, "model.evaluate(samples=5)"),
    ("log_likelihood", {"x": torch.zeros(1, 2), "n_probes": 5}, "model.log_likelihood(x, probes=5)"),
]


@pytest.mark.parametrize(("verb", "settings", "instead"), FOREIGN, ids=lambda one: str(one)[:40])
def test_names_that_others_have_are_answered_with_ours(model, verb, settings, instead):
    with pytest.raises(UsageError) as caught:
        getattr(model, verb)(**settings)
    assert caught.value.instead == instead


@pytest.mark.parametrize(
    ("make", "instead"),
    [
        (lambda: um.recipe.images(folder="faces", resolution=64), "um.recipe.images(folder='faces', size=64)"),
        (lambda: um.recipe.images(folder="faces", epochs=10), "um.recipe.digits(steps=1000)"),
        (lambda: um.data.images("pets", image_size=16), "um.data.images('pets', size=16)"),
        (lambda: um.schedule.LinearBeta(beta_start=1e-4), "um.schedule.LinearBeta(beta_min=0.1)"),
        (
            lambda: um.sample(RING, steps=5),
            "um.sample(denoiser, rows=16, sampler=um.sampler.DDIM(), grid=um.grid.karras(5))",
        ),
        (lambda: um.data.images(folder="pets", size=16), "um.data.images(size=16, path='pets')"),
        (lambda: um.load("owner/name"), "um.from_pretrained('owner/name')"),
        (lambda: um.data.Arrays(torch.tensor([[math.nan]])), "torch.nan_to_num(torch.as_tensor(values))"),
        (lambda: um.load("sudoku"), "um.recipe.sudoku().fit(out='runs/sudoku')"),
        (
            lambda: um.sample(RING, 10),
            "um.sample(denoiser, sampler=um.sampler.DDIM(), grid=um.grid.karras(20), rows=10)",
        ),
        (lambda: um.recipe.ring(num_steps=3, learning_rate=0.1, seed=2), "um.recipe.ring(seed=2, lr=0.1, steps=3)"),
        (lambda: um.recipe.images(data_dir="faces"), "um.recipe.images(folder='faces')"),
        (lambda: um.recipe.ring(learning_rate=1e-3), "um.recipe.ring(lr=0.001)"),
        (lambda: um.recipe.ring(seed=1.5), "seed=1"),
        (lambda: um.recipe.ring(seed=None), "seed=0"),
        (lambda: um.recipe.ring(lr="x"), "lr=0.002"),
        (lambda: um.recipe.ring(steps=1e4), "steps=10000"),
        (lambda: um.recipe.ring(steps="7"), "steps=7"),
        (lambda: um.recipe.text(folder="books", kind="ar"), "kind='masked'"),
        (lambda: um.load("runs/a", map_location="cpu"), "um.load('runs/a', device='cpu')"),
        (lambda: um.process.Gaussian("cosine"), "schedule=um.schedule.Cosine()"),
        (lambda: um.process.Gaussian(um.schedule.Cosine), "schedule=um.schedule.Cosine()"),
        (lambda: um.process.Mask(8, schedule="cosine"), "schedule=um.schedule.TokenCosine()"),
        (lambda: um.objective.Regression(times="lognormal"), "times=um.objective.LogNormalSigma()"),
        (lambda: um.train.Training(steps=10, optimizer="adam"), "optimizer=um.train.AdamW()"),
        (lambda: um.train.Training(steps=10, precision="bf16"), "precision='bfloat16'"),
        (lambda: um.sampler.Restart("ddim"), "sampler=um.sampler.DDIM()"),
        (lambda: um.sampler.DPMpp("2"), "order=2"),
        (lambda: um.guidance.CFG(RING, guidance_scale=2.0), "um.guidance.CFG(denoiser, scale=2.0)"),
        (lambda: um.inverse.MMPS(RING, "inpainting", torch.zeros(1, 2), 0.1), "operator=um.inverse.Inpainting(known)"),
        (lambda: um.grid.karras(num_steps=20), "um.grid.karras(steps=20)"),
        (lambda: um.backbone.UNet(in_channels=3), "um.backbone.UNet(channels=3)"),
    ],
    ids=lambda one: "" if callable(one) else one,
)
def test_parts_recipes_and_load_are_checked_alike(make, instead):
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.instead == instead


@pytest.mark.parametrize(
    ("part", "value"),
    [("codec", "affine"), ("grid", 20), ("objective", "mse"), ("sampler", "ddim"), ("modality", "images")],
)
def test_a_model_is_made_of_parts(model, part, value):
    parts = {"denoiser": model.denoiser, "codec": model.codec, "grid": model.grid}
    with pytest.raises(UsageError, match=rf"^{part}="):
        um.Model(**(parts | {part: value}))
    with pytest.raises(UsageError, match="NetworkDenoiser"):
        um.Model(**(parts | {"denoiser": model.denoiser.backbone}))


def test_a_decorated_call_keeps_its_signature_and_its_docstring(model):
    assert list(inspect.signature(um.sample).parameters)[:4] == ["denoiser", "rows", "sampler", "grid"]
    assert inspect.signature(model.sample).parameters["steps"].default is None
    assert next(iter(inspect.signature(um.recipe.ring).parameters)) == "modes"
    assert list(inspect.signature(um.process.Gaussian).parameters) == ["schedule"]
    assert um.sample.__doc__.startswith("Samples at t = 0")


def test_numbers_of_numpy_become_plain_ones():
    @checked("f")
    def f(rows: int, seed: int | tuple[int, ...] = 0, scale: float = 1.0) -> tuple[object, ...]:
        return rows, seed, scale

    found = f(np.int64(2), seed=np.int32(3), scale=np.float32(0.5))
    assert found == (2, 3, 0.5)
    assert [type(one) for one in found] == [int, int, float]


def test_settings_of_a_typed_dictionary_are_known():
    class Settings(TypedDict, total=False):
        steps: int

    @checked("f")
    def f(**settings: Unpack[Settings]) -> object:
        return settings

    assert f(steps=np.int64(3)) == {"steps": 3}
    with pytest.raises(UsageError, match=r"f\(steps=5\)"):
        f(num_steps=5)
    with pytest.raises(UsageError, match="steps='x'"):
        f(steps="x")


def test_an_annotation_that_cannot_be_resolved_accepts_everything():
    @checked("f")
    def f(x: "NoSuchName") -> object:
        return x

    assert f("anything") == "anything"


@pytest.mark.parametrize(("names", "here"), SAME.items())
def test_translations_are_names(names, here):
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in (*names.split(), *here.split()))


@pytest.mark.parametrize("said", ELSEWHERE.values(), ids=lambda one: one[1])
def test_what_is_said_in_place_of_a_name_is_python(said):
    compile(said[1], "advice", "exec")


def test_arguments_of_other_meaning_are_explained_and_no_value_is_taken_over(model, tmp_path):
    (tmp_path / "a.txt").write_text("some text, " * 40, encoding="utf-8")
    sizes = {"length": 16, "vocabulary": 0, "width": 8, "depth": 1, "heads": 1}
    text = um.recipe.text(folder=tmp_path, **sizes)
    for given, needed, instead in (
        ({"top_k": 50}, "not a number of tokens", "model.sample(top_p=0.9)"),
        ({"max_new_tokens": 20}, "of prompt and suffix too", "model.sample(length=64)"),
    ):
        with pytest.raises(UsageError, match=needed) as caught:
            text.sample(**given)
        assert caught.value.instead == instead
    with pytest.raises(UsageError, match="neither classes nor captions") as caught:
        text.sample(1, guidance=2.0)
    assert caught.value.instead == "guidance=1.0"
    with pytest.raises(UsageError, match="a model that learned no captions") as caught:
        model.sample(4, prompt="a three")
    assert caught.value.instead == "model.sample(4, label='mode 0')"


def test_items_that_cannot_be_split_are_counted():
    with pytest.raises(UsageError, match="1 here: identical ones count as one") as caught:
        um.data.Arrays(torch.ones(20, 2)).split(0.1)
    assert caught.value.instead == "data with another item, which differs"


class Own:
    """A user's own denoiser, whose call is given."""

    process, shape = RING.process, (2,)

    def __init__(self, call):
        self.call = call

    def __call__(self, x_t, t, condition=None):
        return self.call(x_t)


class TwoArguments(Own):
    def __call__(self, x_t, t):
        return self.call(x_t)


@pytest.mark.parametrize(
    ("denoiser", "said"),
    [
        (Own(lambda x: None), "an? Own that returned None; .* returns a posterior"),
        (Own(lambda x: x), "an? Own that returned a tensor"),
        (TwoArguments(lambda x: x), "cannot be called with three arguments"),
        (lambda x: x, "it has a `process`, is called with"),
    ],
)
def test_a_denoiser_of_ones_own_is_told_what_it_lacks(denoiser, said):
    with pytest.raises(UsageError, match=said):
        um.sample(denoiser, rows=2, sampler=um.sampler.DDIM(), grid=um.grid.uniform(2))


def test_an_error_within_a_denoiser_of_ones_own_stays_what_it_is():
    with pytest.raises(AttributeError, match="no_such_thing"):
        um.sample(Own(lambda x: x.no_such_thing), rows=2, sampler=um.sampler.DDIM(), grid=um.grid.uniform(2))


def test_a_ring_without_its_arguments_says_them():
    with pytest.raises(UsageError) as caught:
        um.denoiser.Mixture.ring(6)
    made = eval(caught.value.instead)
    assert isinstance(made, um.denoiser.Mixture)
    assert caught.value.instead.startswith("um.denoiser.Mixture.ring(6, ")
