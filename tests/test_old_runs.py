"""Run folders written by version 0.1.0 load, give the samples that they gave then, and can be resumed.

`runs_0_1_0` holds one small folder of each kind of recipe, as that version wrote them, and in `samples.json` what it
sampled from each: by seed, with a label and guidance, with a caption, tuned, resumed, and from averaged weights.
"""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

import unmelt as um
from unmelt import config
from unmelt.aliases import PARTS, current
from unmelt.run_folder import read_about

RUNS = Path(__file__).parent / "runs_0_1_0"
SAMPLES = json.loads((RUNS / "samples.json").read_text(encoding="utf-8"))
PLAIN = [(name, each) for name, calls in SAMPLES.items() for each in calls if not {"resumed", "averaged"} & each.keys()]


def agrees(model, expected):
    """Version 0.1.0 took learned samplers where there was one; below 10 steps trained models no longer do."""
    call = dict(expected["call"])
    steps, guidance = call.get("steps", 20), call.get("guidance", 1.0)
    if isinstance(model, um.Model) and model.default_sampler(steps, guidance) == um.sampler.adams_sampler(steps):
        call["sampler"], call["grid"] = um.sampler.learned_sampler(steps)
        call.pop("steps", None)
    found = model.sample(2, **call)
    if "text" in expected:
        assert found == expected["text"]
    else:
        torch.testing.assert_close(found, torch.tensor(expected["x"]), rtol=1e-4, atol=1e-5)


def test_there_is_a_folder_of_every_recipe():
    recipes = {json.loads((RUNS / name / "config.json").read_bytes())["origin"]["recipe"] for name in SAMPLES}
    assert recipes >= {
        *("two_modes", "ring", "digits", "images", "sudoku", "reversal", "code", "code_uniform", "code_ar", "text")
    }


@pytest.mark.parametrize(("name", "expected"), PLAIN, ids=[f"{name}-{each['call']}" for name, each in PLAIN])
def test_an_old_run_gives_the_same_samples(name, expected):
    agrees(um.load(RUNS / name, device="cpu"), expected)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_old_run_saved_again_gives_the_same_samples(name, tmp_path):
    um.load(RUNS / name, device="cpu").save(tmp_path / "again")
    agrees(um.load(tmp_path / "again", device="cpu"), SAMPLES[name][0])


def resumed(name, steps):
    settings = {"depth": 1, "steps": steps}
    if name == "ring":
        return um.recipe.ring(width=8, modes=3, batch=16, **settings)
    return um.recipe.sudoku(width=16, heads=2, batch=4, save_every=4, **settings)


@pytest.mark.parametrize("name", ["ring", "sudoku"])
def test_an_old_run_resumes(name, tmp_path):
    (expected,) = (each for each in SAMPLES[name] if "resumed" in each)
    folder = tmp_path / name
    shutil.copytree(RUNS / name, folder)
    model = resumed(name, expected["resumed"])
    if name == "ring":
        model.training = um.train.Training(**{**vars(model.training), "snapshot_every": 3})
    agrees(model.fit(folder, device="cpu", quiet=True), expected)


def test_old_snapshots_average():
    (expected,) = (each for each in SAMPLES["ring"] if "averaged" in each)
    agrees(um.load(RUNS / "ring", device="cpu").averaged(expected["averaged"]), expected)


def test_arguments_of_the_any_order_objective_keep_their_meanings():
    before = {"part": "objective.AnyOrder", "even": True, "free": 0.25, "twice": False}
    found = config.build(current(before))
    assert found == um.objective.AnyOrder(
        equal_token_weights=True, bidirectional_row_fraction=0.25, antithetic_masks=False
    )


EARLIER = {PARTS[each]: each for each in PARTS if each.startswith("unmelt.interop.")}
"""Parts of `interop`, present name to that of version 0.2.0, which named the module of each class."""


def as_version_0_2_0(folder, **more):
    """Rewrite config.json with the names of that version."""
    about = json.loads((folder / "config.json").read_bytes()) | more
    del about["digest"]
    text = json.dumps(about)
    for name, earlier in EARLIER.items():
        text = text.replace(f'"{name}"', f'"{earlier}"')
    about = json.loads(text)
    about["digest"] = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
    return about


def test_parts_named_by_modules_that_have_moved_load(tmp_path):
    settings = {"block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 4}
    settings |= {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    betas = um.interop.Betas(steps=10)
    network, process = um.interop.DiffusersUNet(betas, settings), um.process.Gaussian(betas)
    denoiser = um.denoiser.NetworkDenoiser(network, process, um.prediction.Noise(), (3, 4, 4))
    model = um.Model(denoiser=denoiser, codec=um.codec.Affine.images(), grid=um.grid.uniform(5))
    model.save(tmp_path)
    about = as_version_0_2_0(tmp_path)
    assert about["model"]["denoiser"]["process"]["schedule"]["part"] == "unmelt.interop.betas.Betas"
    assert torch.equal(um.load(tmp_path, device="cpu").sample(1, seed=0), model.sample(1, seed=0))
    as_version_0_2_0(tmp_path, controls={"edges": {"part": "interop.DiffusersT2IAdapter", "settings": []}})
    assert read_about(tmp_path)["controls"]["edges"]["part"] == "interop.DiffusersT2IAdapter"


def test_every_part_of_version_0_2_0_that_moved_is_found():
    assert len(EARLIER) == 18
    assert [config.part(current({"part": each})["part"]).__name__ for each in EARLIER.values()] == [
        each.rpartition(".")[2] for each in EARLIER
    ]
