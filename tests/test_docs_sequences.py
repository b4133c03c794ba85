"""The Python of docs/sequences.md runs as written."""

import re
from pathlib import Path

import torch

GUIDE = (Path(__file__).parents[1] / "docs" / "sequences.md").read_text(encoding="utf-8")


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 4
    named = {}
    for block in blocks:
        exec(block, named)
    assert named["more"].shape == (100, 12, 2)
    truth, x = named["truth"], named["x"][:2].double()
    wanted = truth.log_density(x, torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(named["log_p"], wanted, atol=2e-3, rtol=0)
    assert named["state"].position[0, 1] > 0
    assert Path("film-1.webp").read_bytes()[8:12] == b"WEBP"
    assert Path("dream.gif").read_bytes()[:3] == b"GIF"
