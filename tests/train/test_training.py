"""A run is the same run, bit for bit, wherever it was interrupted; and its small laws hold."""

import math
import os
import signal

import pytest
import torch
from jaxtyping import config
from safetensors.torch import load_file

import unmelt as um
from unmelt.train import (
    AdamW,
    Muon,
    ObjectiveStep,
    Trainer,
    Training,
    lr_schedule,
    read_metrics,
)
from unmelt.train.atomic_files import checksum, write_tensors
from unmelt.train.checkpoint import chain

STEPS = 40


class Watched:
    """A source that notes which batches were asked of it, and can be told to do something at one of them."""

    def __init__(self, source, at=None, do=None):
        self.source, self.at, self.do = source, at, do
        self.asked = []

    @property
    def shape(self):
        return self.source.shape

    @property
    def classes(self):
        return self.source.classes

    def batch(self, step, rows):
        self.asked.append(step)
        if step == self.at:
            self.do()
        return self.source.batch(step, rows)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def model(at=None, do=interrupt, dropout=0.3, **training):
    """A model of images of 4 x 4 pixels with everything that could break a resumed run: dropout, classes, warmup."""
    source = Watched(
        um.data.Arrays(torch.rand(37, 1, 4, 4, generator=torch.Generator().manual_seed(0)), [k % 3 for k in range(37)]),
        at,
        do,
    )
    with um.rng.seeded(1):
        backbone = um.backbone.UNet(
            channels=1, width=4, multipliers=(1,), blocks=1, attention=(False,), classes=3, dropout=dropout
        )
    process = um.process.Gaussian(um.schedule.Cosine())
    given = {
        "steps": STEPS,
        "batch": 5,
        "lr": 3e-3,
        "lr_schedule": um.train.lr_schedule.Cosine(warmup=7),
        "ema": 0.9,
        "save_every": 1000,
        "picture_every": 0,
    }
    return um.Model(
        denoiser=um.denoiser.NetworkDenoiser(backbone, process, um.prediction.V(), (1, 4, 4), data_sd=0.5),
        codec=um.codec.Affine.images(),
        sampler=um.sampler.DDIM(),
        grid=um.grid.uniform(3),
        objective=um.objective.Regression(drop=0.2),
        training=Training(**{**given, **training}),
        classes=("a", "b", "c"),
        source=source,
    )


def fitted(folder, **more):
    made = model(**more)
    made.fit(folder, device="cpu", quiet=True)
    return made


def newest(folder):
    return chain(folder / "checkpoints")[0]


def same(one, other):
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train") / "whole"
    fitted(folder)
    return folder


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """As people run it, and three times faster: shapes and types were checked once, in `whole`."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.mark.parametrize("stops", [(0,), (6, 7), (24,), (25,), (3, 31), (STEPS - 1,)], ids=str)
def test_an_interrupted_run_ends_as_the_uninterrupted_one(tmp_path, whole, stops):
    """Ctrl-C comes while batch number `stop` is being made: that step is finished, saved, and not taken again."""
    asked = []
    for stop in stops:
        cut = model(at=stop)
        with pytest.raises(KeyboardInterrupt, match=f"checkpoint of step {stop + 1} is in .*goes on from it"):
            cut.fit(tmp_path, device="cpu", quiet=True)
        asked += cut.source.asked
        assert cut.steps_done == stop + 1
        assert um.load(tmp_path).steps_done == stop + 1
    rest = fitted(tmp_path)
    assert asked + rest.source.asked == list(range(STEPS))
    assert same(tmp_path / "model.safetensors", whole / "model.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert same(newest(tmp_path), newest(whole))
    steps, expected = ([line["step"] for line in read_metrics(f / "metrics.jsonl")] for f in (tmp_path, whole))
    assert steps == expected == [25, STEPS]


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path, whole):
    class KilledError(Exception):
        pass

    def kill():
        raise KilledError

    cut = model(at=33, do=kill, save_every=10)
    with pytest.raises(KilledError):
        cut.fit(tmp_path, device="cpu", quiet=True)
    assert um.load(tmp_path).steps_done == 30
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [25]
    rest = fitted(tmp_path)
    assert rest.source.asked == list(range(30, STEPS))
    assert same(tmp_path / "model.safetensors", whole / "model.safetensors")


def test_metrics_after_the_last_checkpoint_are_dropped_on_resume(tmp_path, whole):
    cut = model(at=30, do=lambda: 1 / 0, save_every=20)
    with pytest.raises(ZeroDivisionError):
        cut.fit(tmp_path, device="cpu", quiet=True)
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 3')  # the line during which the power failed
    fitted(tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [25, STEPS]
    expected = read_metrics(whole / "metrics.jsonl")
    assert [line["lr"] for line in lines] == [line["lr"] for line in expected]
    assert lines[1]["loss"] == expected[1]["loss"]
    assert lines[0]["seconds"] < lines[1]["seconds"]


def test_a_finished_fit_holds_the_weights_it_saved(tmp_path):
    made = fitted(tmp_path, steps=5)
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in made.denoiser.state_dict().items())
    assert not made.denoiser.training


def test_after_ctrl_c_the_model_holds_the_averaged_weights_it_saved(tmp_path):
    cut = model(at=8)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(tmp_path, device="cpu", quiet=True)
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in cut.denoiser.state_dict().items())


def test_a_run_without_a_folder_ends_with_the_same_weights(whole):
    made = model()
    made.fit(device="cpu", quiet=True)
    saved = load_file(whole / "model.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in made.denoiser.state_dict().items())


def test_training_leaves_the_global_generator_as_it_was(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model(steps=3).fit(device="cpu", quiet=True)
    assert torch.equal(torch.rand(3), expected)


def test_a_finished_run_is_not_trained_again_and_more_steps_resume_it(tmp_path):
    fitted(tmp_path, steps=10)
    before = (tmp_path / "model.safetensors").read_bytes()
    assert fitted(tmp_path, steps=10).source.asked == []
    assert (tmp_path / "model.safetensors").read_bytes() == before
    longer = fitted(tmp_path, steps=30, save_every=15, picture_every=30)
    assert longer.source.asked == list(range(10, 30))
    assert um.load(tmp_path).steps_done == 30
    assert (tmp_path / "samples/000030.png").is_file()
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [10, 25, 30]
    with pytest.raises(um.UsageError, match=r"steps=20 .* has taken 30"):
        fitted(tmp_path, steps=20)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr": 0.1}, "training.lr is 0.003 there, 0.1 here"),
        ({"batch": 6}, "training.batch is 5 there, 6 here"),
        ({"seed": 1}, "training.seed is 0 there, 1 here"),
        ({"dropout": 0.1}, "denoiser.backbone.dropout is 0.3 there, 0.1 here"),
    ],
    ids=str,
)
def test_settings_that_differ_from_the_run_in_the_folder_are_refused_by_name(whole, change, named):
    before = (whole / "config.json").read_bytes()
    with pytest.raises(um.UsageError, match=named):
        fitted(whole, **change)
    assert (whole / "config.json").read_bytes() == before


def test_a_missing_or_damaged_checkpoint_is_a_usage_error(tmp_path):
    fitted(tmp_path, steps=3)
    path = newest(tmp_path)
    content = path.read_bytes()
    for damaged in (content[:-5], content[:100], b"", b"\x80\x04N."):
        path.write_bytes(damaged)
        with pytest.raises(um.UsageError, match="checkpoint"):
            fitted(tmp_path, steps=6)
    path.unlink()
    with pytest.raises(um.UsageError, match="checkpoint"):
        fitted(tmp_path, steps=6)
    other = {"weights.x": torch.zeros(2)}
    write_tensors(path, other, {"step": "3", "updates": "3", "checksum": checksum(other)})
    with pytest.raises(um.UsageError, match="not a checkpoint of this network"):
        fitted(tmp_path, steps=6)
    path.write_bytes(content)
    assert fitted(tmp_path, steps=6).steps_done == 6


class Poisoned(Watched):
    """From batch `at` on, numbers that no network can bear."""

    def batch(self, step, rows):
        x, condition = super().batch(step, rows)
        return (x * math.inf if step >= self.at else x), condition


class Bad(Watched):
    """One batch of numbers that no network can bear."""

    def batch(self, step, rows):
        x, condition = super().batch(step, rows)
        return (x * math.nan if step == self.at else x), condition


@pytest.mark.parametrize("save_every", [100, 1000])
def test_a_diverging_run_stops_and_leaves_its_last_checkpoint(tmp_path, save_every):
    fitted(tmp_path, save_every=10, steps=10)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.suffix in (".safetensors", ".json")}
    made = model(save_every=save_every)
    made.source = Poisoned(made.source, at=12, do=lambda: None)
    with pytest.raises(um.UsageError, match=r"no gradient .* last 28 steps, up to step 40.* Try: lr=0.00075"):
        made.fit(tmp_path, device="cpu", quiet=True)
    assert before == {name: (tmp_path / name).read_bytes() for name in before}
    assert fitted(tmp_path, steps=15).steps_done == 15


@pytest.mark.parametrize("optimizer", [AdamW(), Muon()], ids=str)
def test_steps_with_a_non_finite_gradient_are_skipped_and_counted(tmp_path, optimizer):
    """A batch that no network can bear moves neither weights nor moments: only its turn in the average is taken."""
    made = model(optimizer=optimizer, lr_schedule=lr_schedule.Cosine(warmup=0))
    trainer = Trainer(ObjectiveStep(made.denoiser, made.objective), made.source, made.codec, made.training)
    for _ in range(3):
        trainer.step()
    before = dict(trainer.checkpoint.tensors())
    before = {name: value.clone() for name, value in before.items() if not name.startswith("average")}
    trainer.source = Poisoned(made.source, at=3, do=lambda: None)
    assert not trainer.step().isfinite()
    after = dict(trainer.checkpoint.tensors())
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert trainer.learners[0].skipped.tolist() == [1, 1]
    trainer.source = made.source
    assert trainer.step().isfinite()
    assert trainer.learners[0].skipped.tolist() == [1, 0]

    made = model(optimizer=optimizer)
    made.source = Bad(made.source, at=7, do=lambda: None)
    made.fit(tmp_path, device="cpu", quiet=True)
    assert [line["skipped"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 0]
    assert all(math.isfinite(line["loss"]) for line in read_metrics(tmp_path / "metrics.jsonl"))
    assert all(value.isfinite().all() for value in load_file(tmp_path / "model.safetensors").values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_precisions_learn_with_float32_weights(tmp_path, precision):
    fitted(tmp_path, precision=precision, steps=75, batch=37, lr=1e-2, dropout=0.0)
    assert {value.dtype for value in load_file(tmp_path / "model.safetensors").values()} == {torch.float32}
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_bfloat16_changes_the_weights(tmp_path):
    for precision in ("bfloat16", "float32"):
        fitted(tmp_path / precision, precision=precision)
    assert not same(tmp_path / "bfloat16" / "model.safetensors", tmp_path / "float32" / "model.safetensors")


@pytest.mark.parametrize("has", [True, False])
def test_auto_is_bfloat16_where_the_processor_has_it(tmp_path, monkeypatch, has):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": has}, raising=False)
    for precision in ("auto", "bfloat16" if has else "float32"):
        fitted(tmp_path / precision, precision=precision, steps=5)
    assert same(*(folder / "model.safetensors" for folder in tmp_path.iterdir()))


def test_another_seed_gives_other_weights(whole, tmp_path):
    fitted(tmp_path, seed=1)
    assert not same(tmp_path / "model.safetensors", whole / "model.safetensors")


def test_dropout_changes_the_weights(whole, tmp_path):
    fitted(tmp_path, dropout=0.0)
    assert not same(tmp_path / "model.safetensors", whole / "model.safetensors")
