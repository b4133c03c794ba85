"""Teachers that are tiny and not the null function, and students of every method after a short training."""

import dataclasses
import functools
import inspect
import os

import torch
from killing import Slow

import unmelt as um
from unmelt.distill import Distillation
from unmelt.model import fitting
from unmelt.model.distilling import student_of

FOUND = [getattr(um.distill, name) for name in um.distill.__all__]
METHODS = [each for each in FOUND if issubclass(each, Distillation) and not inspect.isabstract(each)]
STEPS, BATCH = 12, 12

OF_WHOLE_BATCHES = {"Drifting"}
"""Methods in which the rows of a batch act on one another, so that a divided batch is another batch."""


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


def fitted(method, folder=None, guidance_range=None, execution=None, stop=None, steps=STEPS, seconds=0.0):
    """A student after its training, or after `stop` steps of it. Each batch takes so many seconds."""
    teacher = teacher_of(method)
    changes = {"steps": steps, "batch": BATCH, "save_every": 5, "seed": 3}
    student, setup = student_of(teacher, method, 2, guidance_range, changes)
    student.folder, student.training = folder, dataclasses.replace(student.training, precision="float32")
    student.source = Slow(student.source, seconds)
    step = method.train_step(setup)
    if stop is not None:
        step = Stopping(step, stop)
    fitting.fit(student, torch.device("cpu"), execution, True, "none", step)
    return student


def live(out, method, steps, seconds):
    """Train a student to the end, or for as long as one lives."""
    torch.set_num_threads(1)
    os.setpgrp()
    fitted(method, out, steps=steps, seconds=seconds)


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
