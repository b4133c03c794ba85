"""The Python of docs/other_peoples_models.md runs as written, and its command is a command."""

import re
import shlex
from pathlib import Path

import pytest

from unmelt.cli import main

GUIDE = (Path(__file__).parents[1] / "docs" / "other_peoples_models.md").read_text(encoding="utf-8")

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")


def test_the_python_and_the_command_of_the_guide_run(tmp_path, monkeypatch):
    from interop.pipelines import stable_diffusion

    monkeypatch.chdir(tmp_path)
    stable_diffusion(diffusers.DDIMScheduler(clip_sample=False)).save_pretrained("stable-diffusion")
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)
    assert names["wide"].shape == (1, 3, 16, 24)
    assert names["again"].shape == names["x"].shape == names["picture"].shape
    sample, serve = re.findall(r"(?m)^    unmelt (.*?)$", GUIDE)
    assert main([*shlex.split(sample), "--steps", "2"]) == 0
    assert (tmp_path / "cats.png").is_file()
    assert serve == "serve stable-diffusion"
