"""The Python of docs/pictures.md runs as written, and its commands are commands."""

import re
import shlex
from pathlib import Path

import numpy as np
from PIL import Image

import unmelt as um
from unmelt.cli import main

GUIDE = (Path(__file__).parents[1] / "docs" / "pictures.md").read_text(encoding="utf-8")


def test_the_python_and_the_commands_of_the_guide_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / "images" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number}.png")
    model = um.recipe.images(folder="images", size=8, width=8, blocks=1, steps=1, batch=2, picture_every=0)
    model.grid = um.grid.balanced(3)  # for speed
    model.fit("runs/pets", device="cpu", quiet=True)
    Image.open(tmp_path / "images" / "cat" / "0.png").save("cat.png")
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save("mask.png")

    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["painted"].shape == (1, 3, 8, 8)
    assert names["others"].shape == (4, 3, 8, 8)
    assert names["wider"].shape == (1, 3, 8, 16)
    assert (tmp_path / "painted.png").is_file()

    commands = re.findall(r"(?m)^    unmelt (.*?)(?:  #.*)?$", GUIDE)
    assert len(commands) == 5
    for command in commands:
        assert main([*shlex.split(command), "--steps", "2"]) == 0
    assert {path.name for path in tmp_path.glob("*.png")} >= {"dog.png", "painted.png", "wide.png"}
    assert Image.open("wide.png").size == (24, 8)
    assert (tmp_path / "runs" / "pets" / "edit-3.png").is_file()
