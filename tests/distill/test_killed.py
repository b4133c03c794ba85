"""Methods with two networks, killed at random moments: their runs end bit for bit as uninterrupted ones."""

import signal

import pytest
import torch
from killing import struck, to_the_end
from safetensors.torch import load_file
from students import live

import unmelt as um
from unmelt.train.checkpoint import chain

METHODS = {
    "DistributionMatching": um.distill.DistributionMatching(gan_weight=0.1, student_every=2),
    "Adversarial": um.distill.Adversarial(),
    "Progressive": um.distill.Progressive(stages=3),
}
STEPS, SECONDS = 40, 0.015


@pytest.mark.slow  # runs of two networks that are killed are among the tests of all systems
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("lives", [2, 10])
def test_a_killed_run_ends_as_if_it_had_not_been(name, lives, tmp_path):
    """Weights, moments and the random streams of every network."""
    given = (METHODS[name], STEPS, SECONDS)
    to_the_end(live, tmp_path / "whole", given)
    codes = struck(live, tmp_path / "killed", lives, min(0.5, 2 / lives), seed=lives, arguments=given)
    assert codes.count(-signal.SIGKILL) >= 0.8 * lives
    to_the_end(live, tmp_path / "killed", given)
    whole, killed = (load_file(chain(tmp_path / each / "checkpoints")[0]) for each in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert any(key.startswith("networks.") for key in whole)
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
