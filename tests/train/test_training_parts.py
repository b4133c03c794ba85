"""The parts of training alone: the EMA, the schedule, settings, files, checkpoints and the metrics log."""

import json
import math

import pytest
import torch
from test_training import STEPS, fitted, model, newest, same, unchecked, whole  # noqa: F401
from torch import nn

import unmelt as um
from unmelt.train import (
    EMA,
    Checkpoint,
    MetricsLog,
    ObjectiveStep,
    Trainer,
    Training,
    lr_schedule,
    read_metrics,
)
from unmelt.train.atomic_files import read_tensors, write
from unmelt.train.checkpoint import NetworkState, chain

# The parts


def test_the_ema_equals_its_closed_form():
    """average_n = sum over k of (1 - d_k) d_(k+1) ... d_n w_k, with d_k = min(decay, k / (k + 10)) and w_0 = 0."""
    weight = torch.zeros(3, dtype=torch.float64)
    ema, decay = EMA([weight], 0.6), 0.6
    values = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for value in values:
        weight.copy_(value)
        ema.update()
    decays = [min(decay, k / (k + 10)) for k in range(1, 41)]
    exact = sum((1 - decays[k]) * math.prod(decays[k + 1 :]) * values[k] for k in range(40))
    torch.testing.assert_close(ema.average[0], exact, rtol=0, atol=1e-12)
    assert ema.updates == 40
    ema.swap()
    torch.testing.assert_close(weight, exact, rtol=0, atol=1e-12)
    assert torch.equal(ema.average[0], values[-1])
    ema.swap()
    assert torch.equal(weight, values[-1])


def test_the_cosine_schedule_has_its_shape():
    """Up in a straight line, at the peak once, down as half a cosine, and never back up."""
    training = Training(steps=100, lr=2.0, lr_schedule=lr_schedule.Cosine(warmup=20))
    assert [training.lr_at(step) for step in (0, 9, 19, 20)] == pytest.approx([0.1, 1.0, 2.0, 2.0])
    assert training.lr_at(60) == pytest.approx(1.0)
    assert training.lr_at(40) == pytest.approx(1 + math.cos(math.pi / 4))
    assert training.lr_at(100) == training.lr_at(500) == pytest.approx(0.0, abs=1e-15)
    assert 0 < training.lr_at(99) < 0.01
    assert Training(steps=10, lr=1.0, lr_schedule=lr_schedule.Cosine(warmup=0)).lr_at(0) == 1.0
    assert Training(steps=10, lr=1.0, lr_schedule=lr_schedule.Cosine(warmup=50)).lr_at(9) == pytest.approx(0.2)


def test_the_optimizer_follows_the_learning_rate():
    made = model()
    trainer = Trainer(ObjectiveStep(made.denoiser, made.objective), made.source, made.codec, made.training)
    for step in range(10):
        trainer.step()
        assert trainer.learners[0].optimizers[0].param_groups[0]["lr"] == made.training.lr_at(step)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"steps": value} for value in (0, -5, 2.5, True)),
        *({name: 0} for name in ("batch", "save_every")),
        *({name: 0.0} for name in ("lr", "clip")),
        *({"lr": value} for value in (math.nan, math.inf, -1.0)),
        *({"ema": value} for value in (1.0, 1.5, -0.1, math.nan)),
        {"picture_every": -1},
        {"precision": "float16"},
    ],
    ids=str,
)
def test_invalid_settings_are_refused(wrong):
    with pytest.raises(um.UsageError, match=f"^{next(iter(wrong))}="):
        Training(**{"steps": 10, **wrong})


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.bin"
    write(path, b"before")
    (tmp_path / "b").mkdir()
    with pytest.raises(um.UsageError, match="cannot be written"):
        write(tmp_path / "b", b"a folder stands there")
    with pytest.raises(um.UsageError, match="cannot be written"):
        write(tmp_path / "none" / "a.bin", b"no such folder")
    assert path.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "b"]


def test_a_restored_checkpoint_continues_bit_for_bit(tmp_path):
    def parts(seed):
        with um.rng.seeded(seed):
            network = nn.Linear(3, 2)
        ema = EMA(network.parameters(), 0.9)
        optimizer = torch.optim.AdamW(network.parameters(), 1e-2, fused=True)
        return network, ema, [optimizer]

    def checkpoint(network, ema, optimizers):
        return Checkpoint({"denoiser": NetworkState(network, optimizers)}, ema)

    def step(network, ema, optimizers):
        optimizer = optimizers[0]
        network(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update()

    first, second = parts(0), parts(1)
    for _ in range(3):
        step(*first)
    checkpoint(*first).save(tmp_path, 3)
    assert checkpoint(*second).load(tmp_path) == 3
    step(*first)
    step(*second)
    assert torch.equal(first[0].weight, second[0].weight)
    assert all(torch.equal(a, b) for a, b in zip(first[1].average, second[1].average, strict=True))
    assert first[1].updates == second[1].updates == 4
    about = read_tensors(chain(tmp_path)[0])[1]
    assert about.keys() == {"run", "step", "updates", "checksum"}
    assert (about["step"], about["updates"]) == ("3", "3")


@pytest.mark.parametrize("line", ["{", "5", "[]", "null", "{}", '{"step": 3}', "\xff\xfe"])
def test_a_damaged_last_line_of_metrics_is_dropped_and_any_other_refused(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    good = json.dumps(
        {"step": 25, "loss": 0.5, "lr": 0.1, "rows_per_second": 3.0, "seconds": 1.0, "skipped": 0, "memory": 9}
    )
    path.write_text(f"{good}\n{line}", encoding="latin-1")
    assert [found["step"] for found in read_metrics(path)] == [25]
    path.write_text(f"{line}\n{good}\n", encoding="latin-1")
    with pytest.raises(um.UsageError, match="line 1, is damaged"):
        read_metrics(path)


def test_the_metrics_log_resumes_at_the_step_of_the_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 0, 100, 4, quiet=True) as record:
        for step in (25, 50, 75):
            record.add(step, 1.0, 0.1)
    with MetricsLog(path, 50, 100, 4, quiet=True) as record:
        record.add(75, 2.0, 0.1)
    lines = read_metrics(path)
    assert [(line["step"], line["loss"]) for line in lines] == [(25, 1.0), (50, 1.0), (75, 2.0)]
    assert lines[1]["seconds"] <= lines[2]["seconds"]
