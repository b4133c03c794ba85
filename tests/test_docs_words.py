"""The Python of docs/words.md runs as written, but for the language model, which is not at hand."""

import re
from pathlib import Path

from doc_pages import shorten

import unmelt as um

GUIDE = (Path(__file__).parents[1] / "docs" / "words.md").read_text(encoding="utf-8")


class Always:
    """A planner that has one plan."""

    def __init__(self, path: str) -> None:
        assert path.endswith(".gguf")

    def plan(self, prompts):
        return [um.scene.Scene.parse("1 red cat left; 1 green car right") for _ in prompts]


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(um.planner, "LanguageModelPlanner", Always)
    model = um.recipe.scenes(captions=20, width=8, steps=1, batch=2, picture_every=0)
    model.grid = um.grid.balanced(2)  # for speed
    model.fit("runs/scenes", device="cpu", quiet=True)
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    short = {"steps": 1, "batch": 2, "picture_every": 0, "size": 16}
    shorten(monkeypatch, um.data, "draw_scenes", pictures=20, captions=20, size=24)
    shorten(monkeypatch, um.recipe, "autoencoder", **short, widths=(8, 16), blocks=(1, 1))
    shorten(monkeypatch, um.recipe, "latents", **short, width=16, depth=1, heads=2)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(block, names)
    assert um.scene.check(names["scene"], um.scene.read(names["picture"][None])[0])["all"]
    assert "1 red cat left; 1 green car right" in capsys.readouterr().err
