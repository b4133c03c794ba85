"""Systems to come: trained a little, killed with SIGKILL at a random moment, resumed bit for bit, sampled."""

import signal

import pytest
import torch
from killing import struck, to_the_end
from safetensors.torch import load_file
from systems.lives import SYSTEMS, live
from systems.parts import FRAMES

import unmelt as um
from unmelt.sampler import walk
from unmelt.train.checkpoint import chain


def contents(folder):
    files = [*folder.glob("*.safetensors"), chain(folder / "checkpoints")[0]]
    return {path.name: load_file(path) for path in files}


QUICK = ("two_networks",)


@pytest.mark.parametrize(
    "name", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in SYSTEMS]
)
def test_a_killed_run_resumes_bit_for_bit_and_samples(name, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    to_the_end(live, whole, [name])
    (code,) = struck(live, killed, 1, 0.3, seed=name, arguments=[name])
    assert code in (0, -signal.SIGKILL)
    to_the_end(live, killed, [name])
    one, other = contents(whole), contents(killed)
    assert one.keys() == other.keys()
    for file, tensors in one.items():
        assert tensors.keys() == other[file].keys()
        assert all(torch.equal(value, other[file][key]) for key, value in tensors.items())
    models = [um.load(folder, device="cpu") for folder in (whole, killed)]
    x, y = (model.sample(3, seed=5) for model in models)
    assert torch.equal(x, y)
    assert x.isfinite().all()
    assert models[0].save_preview(tmp_path / "shown").is_file()
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
