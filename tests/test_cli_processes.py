"""The command line as a process: interrupted, resumed, and without a traceback; and tuning by it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from jaxtyping import config
from safetensors.torch import load_file
from test_cli import TINY, refused, ring, unmelt  # noqa: F401

import unmelt as um
from unmelt.train import read_metrics

# As a process


def process(*args):
    command = [sys.executable, "-m", "unmelt.cli", *map(str, args)]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_interrupted_by_ctrl_c_resumes_to_the_uninterrupted_run(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as in the process beside it, and faster
    settings = ["--steps", 250, "--seed", 3, *TINY]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    running = process("train", "ring", "--out", cut, *settings)
    metrics = cut / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert not out
    assert err.strip().splitlines()[-1] == "unmelt: interrupted; the same command goes on from here"
    assert "Traceback" not in err
    assert 25 <= json.loads((cut / "config.json").read_text(encoding="utf-8"))["steps_done"] < 250

    assert unmelt("train", "ring", "--out", cut, *settings) == 0
    um.recipe.ring(steps=250, seed=3, width=8, depth=1, batch=16).fit(whole, device="cpu", quiet=True)
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    ends = [load_file(max((folder / "checkpoints").iterdir())) for folder in (cut, whole)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    steps = [[line["step"] for line in read_metrics(folder / "metrics.jsonl")] for folder in (cut, whole)]
    assert steps[0] == steps[1] == list(range(25, 251, 25))


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, as in a person's shell; workers that run tests ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_sampling_exits_with_130_and_does_not_mention_resuming(ring, tmp_path, capsys, interruptible):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert unmelt("sample", ring, "--rows", 100_000, "--steps", 1000, "--out", tmp_path / "new/a.npy") == 130
    out, err = capsys.readouterr()
    assert (out, err) == ("", "unmelt: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_a_process_exits_with_code_2_and_no_traceback(tmp_path):
    running = process("train", "ring", "--out", tmp_path / "x", "--lr", "nan")
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (2, "")
    assert err.splitlines()[0] == "unmelt: lr=nan"
    assert not (tmp_path / "x").exists()


def test_tune_stores_a_few_step_sampler_in_the_run(ring, capsys):
    assert unmelt("tune", ring, "--steps", 3, "--rows", 128, "--rounds", 8, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["steps"] == 3
    assert scores["tuned_error"] < scores["default_error"]
    assert unmelt("show", ring, "--json") == 0
    about = json.loads(capsys.readouterr().out)
    assert about["tuned"][0]["part"] == "sampler.Tuned"
    assert um.load(ring).default_sampler()[1].steps == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [(("--steps", 1), "2 to 30"), (("--rows", 3), "at least 16"), (("--guidance", "nan"), "finite")],
)
def test_invalid_tuning_is_refused_and_leaves_the_run_unchanged(ring, capsys, given, said):
    before = (ring / "config.json").read_bytes()
    assert unmelt("tune", ring, *given) == 2
    assert said in capsys.readouterr().err
    assert (ring / "config.json").read_bytes() == before
