"""The README's Python runs as written, with training and tuning shortened; its picture, figures and tree are true."""

import re
import shlex
from pathlib import Path

import numpy as np
from jaxtyping import config
from PIL import Image

from unmelt.cli import main

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


def test_the_picture_is_what_the_command_makes(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"(?m)^    unmelt (sample emoji .* --out stars.png)$", README.read_text(encoding="utf-8"))
    assert main(shlex.split(command)) == 0
    made, shown = (
        np.asarray(Image.open(path).convert("RGB")).astype(int)
        for path in (tmp_path / "stars.png", README.parent / "docs" / "stars.png")
    )
    assert made.shape == shown.shape
    assert np.abs(made - shown).mean() < 1


def rows_of(table):
    text = (README.parent / "bench" / "results" / f"{table}.md").read_text(encoding="utf-8")
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_the_figures_beside_others_are_those_of_the_tables():
    said = README.read_text(encoding="utf-8").split("## Beside others")[1].split("##")[0]
    solvers = [float(row[5]) for row in rows_of("solvers") if row[2:4] == ["unmelt", "stock"]]
    assert f"{min(solvers):.2f} to {max(solvers):.2f}" in said
    peers = {(row[0], row[1]): row[2] for row in rows_of("few_steps_peers")}
    lcm = {
        calls: min(float(value) for (who, n), value in peers.items() if "LCM" in who and n == calls) for calls in "14"
    }
    assert f"| {float(peers['ours', '1']):.2f} | {lcm['1']:.2f}: " in said
    assert f"{lcm['4']:.2f} to {float(peers['ours', '4']):.2f}" in said
    served = {row[1]: float(row[7]) for row in rows_of("serving") if (row[0], row[2]) == ("digits", "1.2")}
    slow, lit = served["one at a time"] / 1000, served["LitServe"] / 1000
    assert f"| {served['unmelt']:.0f} ms | {slow:.1f} s one at a time, {lit:.1f} s LitServe |" in said
    steps = {row[1]: float(row[2]) for row in rows_of("training") if row[0] == "digits, 8 x 8"}
    assert f"| {steps['unmelt']:.2f} | {steps['diffusers, best']:.2f}: " in said
    seconds = {row[0]: row[1] for row in rows_of("startup")}
    assert f"| {seconds['import unmelt']} s | {seconds['import torch']} s: torch" in said
