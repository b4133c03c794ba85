"""The README's Python runs as written, with training and tuning shortened; its tree is the package's."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    (tmp_path / "books").mkdir()
    for number in range(3):
        (tmp_path / "books" / f"{number}.txt").write_text(
            "The sea was wide. That was the end.\n" * 40, encoding="utf-8"
        )
    short = {
        "recipe.digits()": "recipe.digits(steps=3)",
        "tune(steps=5)": "tune(steps=5, rows=16, rounds=1)",
        "distill.Consistency()": "distill.Consistency(training_steps=2)",
        'text(folder="books")': 'text(folder="books", steps=2, width=16, depth=1, vocabulary=300, batch=2)',
    }
    for whole, part in short.items():
        assert code.count(whole) == 1
        code = code.replace(whole, part)
    exec(code, names)
    told = capsys.readouterr().out
    assert told.count("sd ") == 33  # every time of a 32-step grid
    assert "The sea" in told
    assert told.rstrip("\n").endswith("the end.")
    assert (tmp_path / "runs" / "digits" / "config.json").exists()
    x, ring = names["x"], names["ring"]
    assert x.shape == (1000, 2)
    angle = x.mean(0)
    assert (angle - 2 * ring.means[1] / ring.means[1].norm()).norm() < 0.3  # guided to mode 1, and a little beyond


def test_the_tree_in_the_readme_lists_the_package():
    said = set(re.findall(r"(?m)(?:^ {6}|(?<= {5}))(\w+(?:\.py|/))", README.read_text(encoding="utf-8")))
    package = README.parent / "src" / "unmelt"
    there = {f"{p.name}/" if p.is_dir() else p.name for p in package.iterdir() if not p.name.startswith("_")}
    assert there <= said | {"py.typed"}
    assert all((package / name.rstrip("/")).exists() for name in said)
