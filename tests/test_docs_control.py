"""The Python of docs/control.md runs as written, and its commands are commands."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unmelt as um
from unmelt.cli import main

GUIDE = (Path(__file__).parents[1] / "docs" / "control.md").read_text(encoding="utf-8")


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for name in (
        "edges",
        "depth",
        "photo",
        "faces/a/1",
        "faces/a/2",
        "faces/a/3",
        "faces/b/1",
        "faces/b/2",
        "faces/b/3",
    ):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return tmp_path


def blocks():
    return re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def test_the_python_about_control_networks_runs(pictures):
    diffusers = pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from interop.pipelines import control_net, stable_diffusion, t2i_adapter

    pipeline = stable_diffusion(diffusers.DDIMScheduler(clip_sample=False), (True, False))
    pipeline.save_pretrained("stable-diffusion")
    control_net(pipeline.unet, 1).save_pretrained("controlnet-canny")
    t2i_adapter(2).save_pretrained("t2i-adapter-depth")
    names: dict = {}
    exec(blocks()[0].replace("steps=20", "steps=2"), names)
    assert names["x"].shape == names["both"].shape == names["rows"].shape == names["again"].shape == (2, 3, 16, 16)
    assert um.load("runs/cats").control_names == ("edges", "depth")


def test_the_python_and_the_commands_about_training_run(pictures, monkeypatch):
    images, control = um.recipe.images, um.recipe.control
    short = {"steps": 2, "batch": 4, "picture_every": 0}
    monkeypatch.setattr(
        um.recipe, "images", lambda **given: images(**given | short | {"width": 8, "blocks": 1, "size": 8})
    )
    monkeypatch.setattr(um.recipe, "control", lambda **given: control(**given, **short))
    names: dict = {"um": um}
    exec(blocks()[1].replace("samples=1000", "samples=20"), names)
    assert names["agreement"].shape == (4,)
    assert {"control_agreement", "control_agreement_shuffled"} <= names["scores"].keys()
    train, *others = re.findall(r"(?m)^    unmelt (.*?)$", GUIDE)
    assert shlex.split(train)[:2] == ["train", "control"]
    for command in others:
        assert main([*shlex.split(command), "--steps", "2"]) == 0
    assert (pictures / "threes.png").is_file()
    assert torch.equal(names["edges"], um.control.Edges()(names["digits"]))
