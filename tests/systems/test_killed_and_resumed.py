"""Systems to come: trained a little, killed with SIGKILL at a random moment, resumed bit for bit, sampled."""

import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from safetensors.torch import load_file
from systems.lives import SYSTEMS, live
from systems.parts import FRAMES

import unmelt as um
from unmelt.sampler import walk
from unmelt.train.checkpoint import chain

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["unmelt", "systems.lives"])


def run(name, out, kill_after=None):
    """Train in a process of its own; kill it so many seconds after it began, if it is to be killed."""
    child = FORK.Process(target=live, args=(name, out))
    child.start()
    if kill_after is not None:
        while child.is_alive() and not chain(out / "checkpoints"):
            time.sleep(0.002)
        time.sleep(kill_after)
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
    child.join(120)
    return child.exitcode


def contents(folder):
    files = [*folder.glob("*.safetensors"), chain(folder / "checkpoints")[0]]
    return {path.name: load_file(path) for path in files}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_killed_run_resumes_bit_for_bit_and_samples(name, tmp_path):
    whole, struck = tmp_path / "whole", tmp_path / "struck"
    assert run(name, whole) == 0
    code = run(name, struck, kill_after=random.Random(name).uniform(0, 0.15))
    if code != 0:
        assert code == -signal.SIGKILL
        assert run(name, struck) == 0
    one, other = contents(whole), contents(struck)
    assert one.keys() == other.keys()
    for file, tensors in one.items():
        assert tensors.keys() == other[file].keys()
        assert all(torch.equal(value, other[file][key]) for key, value in tensors.items())
    models = [um.load(folder, device="cpu") for folder in (whole, struck)]
    x, y = (model.sample(3, seed=5) for model in models)
    assert torch.equal(x, y)
    assert x.isfinite().all()
    assert models[0].show(tmp_path / "shown").is_file()
    files = models[0].modality.write(x, tmp_path / f"x{models[0].modality.suffixes[0]}")
    assert all(path.stat().st_size > 0 for path in files)
    if name == "two_networks":
        assert any(key.startswith("networks.fake.") for key in one[chain(whole / "checkpoints")[0].name])
    if name == "video":
        _frame_by_frame(models[0])


def _frame_by_frame(model):
    """The first frame is denoised before the others begin: times are finer than rows."""
    denoiser, sampler = model.denoiser, um.sampler.DDIM()
    late = torch.ones(2, FRAMES, dtype=torch.float64)
    first = late.clone()
    first[:, 0] = 0.5
    done = late.clone()
    done[:, 0] = 0
    rng = um.rng.RowSeeds.of(1, 2)
    x = denoiser.process.prior((2, *denoiser.shape), rng)
    state = sampler.init(denoiser, x, late, rng.advance())
    with torch.no_grad():
        *_, half = walk(denoiser, sampler, state, [first, done])
        *_, end = walk(denoiser, sampler, half, [torch.where(done > 0, 0.5, 0.0).double(), torch.zeros_like(done)])
    assert torch.equal(half.x[:, 1:], x[:, 1:])  # frames that wait do not change
    assert torch.equal(end.x[:, 0], half.x[:, 0])
    assert end.x.isfinite().all()
