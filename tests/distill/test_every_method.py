"""Every exported method: it trains, resumes bit for bit, does not depend on how a batch is divided, saves and loads."""

import dataclasses
import functools
import inspect

import pytest
import torch

import unmelt as um
from unmelt.distill import Distillation
from unmelt.model import fitting
from unmelt.model.distilling import student_of
from unmelt.train import Execution

FOUND = [getattr(um.distill, name) for name in um.distill.__all__]
METHODS = [each for each in FOUND if issubclass(each, Distillation) and not inspect.isabstract(each)]
STEPS, BATCH = 12, 12

OF_WHOLE_BATCHES = {"Drifting"}
"""Methods in which the rows of a batch act on one another, so that a divided batch is another batch."""

UNGUIDED = {"Drifting"}
"""Methods that learn from data alone, which have no guidance to learn."""


@functools.cache
def numbers():
    """A teacher of tiny images, in float64, that is not the null function."""
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with um.rng.seeded(1):
        body = um.backbone.DiT(channels=1, size=(4, 4), width=16, depth=2, heads=2, classes=3)
        with torch.no_grad():
            for each in body.parameters():
                each.add_(0.05 * torch.randn(each.shape))
    process = um.process.Gaussian(um.schedule.VarianceExploding(0.02, 20.0))
    denoiser = um.denoiser.NetworkDenoiser(body, process, um.prediction.Preconditioned(0.5), (1, 4, 4), data_sd=0.5)
    model = um.Model(
        denoiser=denoiser,
        codec=um.codec.Affine.images(),
        grid=um.grid.balanced(8),
        objective=um.objective.Regression(drop=0.2),
        training=training(),
        classes=("a", "b", "c"),
        source=um.data.Arrays(images, [k % 3 for k in range(40)]),
    )
    model.steps_done = 1
    return model


@functools.cache
def text():
    """A teacher of four letters in rows of six."""
    tokenizer = um.codec.Symbols("abcd")
    tokens = torch.randint(0, 4, (40, 6), generator=torch.Generator().manual_seed(0))
    with um.rng.seeded(1):
        body = um.backbone.Transformer(
            input_vocabulary=tokenizer.vocabulary + 1,
            vocabulary=tokenizer.vocabulary,
            length=6,
            width=16,
            depth=1,
            heads=2,
        )
        with torch.no_grad():
            for each in body.parameters():
                each.add_(0.1 * torch.randn(each.shape))
    model = um.TextModel(
        denoiser=um.denoiser.TokenDenoiser(body, um.process.Mask(tokenizer.vocabulary), (6,)),
        codec=tokenizer,
        grid=um.grid.uniform(4),
        sampler=um.sampler.Ancestral(),
        objective=um.objective.AnyOrder(),
        training=training(),
        source=um.data.Arrays(tokens),
    )
    model.steps_done = 1
    return model


def training():
    return um.train.Training(
        steps=STEPS, batch=BATCH, lr=1e-3, ema=0.9, precision="float32", save_every=5, picture_every=0
    )


def teacher_of(method):
    return {"numbers": numbers, "tokens": text}[method.KIND]()


def fitted(cls, folder=None, guidance_range=None, execution=None, stop=None):
    """A student after its training, or after `stop` steps of it."""
    method, teacher = cls(), teacher_of(cls)
    changes = {"steps": STEPS, "batch": BATCH, "save_every": 5, "seed": 3}
    student, setup = student_of(teacher, method, 2, guidance_range, changes)
    student.folder, student.training = folder, dataclasses.replace(student.training, precision="float32")
    step = method.train_step(setup)
    if stop is not None:
        step = Stopping(step, stop)
    fitting.fit(student, torch.device("cpu"), execution, True, "none", step)
    return student


class Stopping:
    """A training step that fails at a certain step, as a machine might."""

    def __init__(self, step, stop):
        self.step, self.stop = step, stop

    def __getattr__(self, name):
        return getattr(self.step, name)

    def after_update(self, network, step):
        self.step.after_update(network, step)
        if step == self.stop:
            raise RuntimeError("the machine went away")


def weights(model):
    return {name: value.clone() for name, value in model.denoiser.state_dict().items()}


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_a_run_that_broke_off_resumes_bit_for_bit_and_the_student_is_loaded_as_it_was(cls, tmp_path):
    whole = fitted(cls, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="went away"):
        fitted(cls, tmp_path / "broken", stop=7)
    resumed = fitted(cls, tmp_path / "broken")
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    before = weights(student_of(teacher_of(cls), cls(), 2, None, {})[0])
    assert any(not torch.equal(value, before[name]) for name, value in weights(whole).items())
    again = um.load(tmp_path / "whole", device="cpu")
    first, second = (model.sample(3, seed=1) for model in (whole, again))
    assert first == second if cls.KIND == "tokens" else torch.equal(first, second)


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_a_batch_in_parts_is_the_same_batch(cls):
    if cls.__name__ in OF_WHOLE_BATCHES:
        pytest.skip("its rows act on one another")
    one, two = fitted(cls), fitted(cls, execution=Execution(gradient_accumulation=2))
    for name, value in weights(one).items():
        torch.testing.assert_close(value, weights(two)[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    "cls",
    [each for each in METHODS if each.KIND == "numbers" and each.__name__ not in UNGUIDED],
    ids=lambda cls: cls.__name__,
)
def test_guidance_is_learned_as_an_input(cls):
    student = fitted(cls, guidance_range=(1.0, 3.0))
    embedding = student.denoiser.backbone.told.guidance[1].weight
    assert embedding.abs().max() > 0  # it began at 0
    plain, guided = (student.sample(4, label=1, guidance=scale) for scale in (1.0, 3.0))
    assert not torch.equal(plain, guided)
    assert guided.isfinite().all()


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_a_method_describes_itself(cls):
    assert um.config.build(um.config.describe(cls())) == cls()
    fields = {field.name for field in dataclasses.fields(cls)}
    assert {"training_steps", "lr"} <= fields
    assert cls.KIND in ("numbers", "tokens")
