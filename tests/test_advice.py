"""What a mistake's message proposes is Python; the command line turns it into its own options."""

import ast
from pathlib import Path

import pytest

from unmelt.cli.script import as_option

PACKAGE = Path(__file__).parent.parent / "src/unmelt"
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if not {"cli", "lab"} & set(path.relative_to(PACKAGE).parts)]


def _texts(node):
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_advice_is_never_an_option_or_a_command_of_ours(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UsageError":
            for argument in node.args[2:]:
                for text in _texts(argument):
                    assert not text.startswith(("--", "unmelt ")), (node.lineno, text)
                    assert " --out" not in text, (node.lineno, text)


@pytest.mark.parametrize(
    ("instead", "option"),
    [
        ("lr=0.001", "--lr 0.001"),
        ("um.recipe.digits().fit(out='runs/digits')", "unmelt train digits --out runs/digits"),
        ('um.recipe.images(folder="faces", size=64)', "unmelt train images --folder faces --size 64 --out runs/images"),
        ("um.load('runs/a b').evaluate()", "unmelt eval 'runs/a b'"),
        ("um.load('runs/a').sample(16)", "unmelt sample runs/a"),
        ("um.load('runs/a')", "unmelt show runs/a"),
        ("allow_other_data=True", "--allow-other-data"),
        ("json=False", "--no-json"),
        ("um.load('runs/a').evaluate(again=True)", "unmelt eval runs/a --again"),
        ("um.distill.MeanFlow()", "--method mean-flow"),
        ("um.distill.MeanFlow(from_scratch=True)", "--method mean-flow --from-scratch"),
        ("um.distill.SDTT()", "--method sdtt"),
        ("a copy of it", "a copy of it"),
    ],
)
def test_advice_becomes_a_command(instead, option):
    assert as_option(instead) == option
