"""Without an optional package, what needs it says in one message which extra brings it."""

import sys
import tomllib
from pathlib import Path

import pytest
from test_cli import refused, unmelt  # noqa: F401

import unmelt as um


@pytest.mark.parametrize(
    ("package", "line", "extra"),
    [
        ("tokenizers", "train text --folder books --out new", "unmelt[text]"),
        ("sklearn", "train digits --out new", "unmelt[digits]"),
        ("diffusers", "export images --out new", "unmelt[diffusers]"),
        ("huggingface_hub", "push points owner/name", "unmelt[hub]"),
        ("pyarrow", "train images --folder table.parquet --out new", "unmelt[data]"),
        ("datasets", "train images --folder hf:owner/name --out new", "unmelt[data]"),
        ("wandb", "train ring --out new --steps 1 --log-to wandb", "pip install wandb"),
        ("trackio", "train ring --out new --steps 1 --log-to trackio", "pip install trackio"),
        ("tensorboard", "train ring --out new --steps 1 --log-to tensorboard", "tensorboard"),
    ],
)
def test_a_missing_package_is_one_message(refused, tmp_path, monkeypatch, package, line, extra):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.txt").write_text("The sea was wide.\n" * 40, encoding="utf-8")
    (tmp_path / "table.parquet").write_bytes(b"PAR1" + bytes(40) + b"PAR1")
    um.recipe.ring(width=8, depth=1, steps=1, batch=4).save(tmp_path / "points")
    um.recipe.digits(width=4, steps=1, batch=4).save(tmp_path / "images")
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    said = refused(*line.split())
    assert extra in said
    assert package.replace("sklearn", "scikit-learn") in said


def test_the_demo_installs_what_the_lines_of_the_readme_need():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["demo"] == ["unmelt[digits,text]"]
