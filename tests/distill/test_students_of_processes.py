"""Two processes are one run, for every method; the runs follow one another in the same processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from students import METHODS, OF_WHOLE_BATCHES, fitted

SCRIPT = Path(__file__).with_name("spread_students.py")


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    out = tmp_path_factory.mktemp("of_two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SCRIPT), out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}  # tests/killing.py
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
def test_two_processes_make_the_student_of_one(cls, of_two):
    found = load_file(of_two / f"{cls.__name__}.safetensors")
    assert all(value.isfinite().all() for value in found.values())
    if cls.__name__ in OF_WHOLE_BATCHES:
        pytest.skip("its rows act on one another, those of one process alone")
    for name, value in fitted(cls()).denoiser.state_dict().items():
        torch.testing.assert_close(value, found[name], rtol=1e-3, atol=1e-4, msg=name)
