"""Several processes are one run: the same losses, and checkpoints that go on with any number of them."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("spread.py")


def losses(out, processes, kind="regression", steps=50, stop=1000, shard=False):
    """The losses of a run, or of what is left of it, and the weights it ends with."""
    command = [sys.executable, str(SCRIPT)]
    if processes > 1:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [*torchrun, str(SCRIPT)]
    arguments = [str(out), kind, str(steps), str(stop), "shard" if shard else "plain"]
    paths = os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")])  # tests/killing.py
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "losses.json").read_text(encoding="utf-8"))  # of each step, one a phase


def farthest(found, wanted):
    """The largest difference of a loss."""
    return max(abs(a - b) for one, other in zip(found, wanted, strict=True) for a, b in zip(one, other, strict=True))


def same(one, other):
    """The weights that a run ends with, and the last snapshot of its averages."""
    for name in ("model.safetensors", "averages/000000050.safetensors"):
        a, b = (load_file(folder / name) for folder in (one, other))
        if a.keys() != b.keys() or not all(torch.allclose(a[each], b[each], rtol=0, atol=1e-6) for each in a):
            return False
    return True


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Folder and losses of a run in one process, by its kind."""
    return functools.cache(lambda kind: (folder := tmp_path_factory.mktemp(kind), losses(folder, 1, kind)))


@pytest.mark.parametrize(
    "kind", ["two", *(pytest.param(each, marks=pytest.mark.slow) for each in ("buckets", "regression", "jvp"))]
)
def test_two_processes_equal_one(tmp_path, alone, kind):
    """At the same global batch: 50 losses and the weights after them; Jacobian-vector products, networks, shapes."""
    folder, wanted = alone(kind)
    found = losses(tmp_path, 2, kind)
    assert len(found) == 50
    assert farthest(found, wanted) < 1e-5
    assert same(tmp_path, folder)


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("two", 1),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("regression", 1), ("regression", 2), ("two", 2))),
    ],
)
def test_a_sharded_run_resumes_with_any_number_of_processes(tmp_path, alone, kind, after):
    """FSDP2 over two processes up to step 20, then one process or two: the losses of one all the way."""
    folder, wanted = alone(kind)
    first = losses(tmp_path, 2, kind, stop=20, shard=True)
    rest = losses(tmp_path, after, kind, shard=after > 1)
    assert (len(first), len(rest)) == (20, 30)
    assert farthest(first + rest, wanted) < 1e-5
    assert same(tmp_path, folder)
