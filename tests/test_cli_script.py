"""How scripts end: with one sentence and an exit code."""

import sys

import pytest

import unmelt as um
from unmelt.cli.script import run_command, run_script


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "digits.py: interrupted; the same command begins again"),
        (KeyboardInterrupt("go on"), 130, "digits.py: interrupted; go on"),
        (um.UsageError("given", "needed", "lr=0.1"), 2, "digits.py: given\n  needed: needed\n  try:    --lr 0.1"),
        (OSError(28, "No space left"), 2, "digits.py: [Errno 28] No space left"),
    ],
)
def test_a_script_ends_with_one_sentence(monkeypatch, capsys, error, code, said):
    def main(steps: int = 3) -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["examples/digits.py", "--steps", "5"])
    assert run_script(main) == code
    assert capsys.readouterr().err == said + "\n"


def test_a_script_is_given_its_options(monkeypatch, capsys):
    given = []
    monkeypatch.setattr(sys, "argv", ["x.py", "--steps", "5"])

    def main(steps: int = 3, seed: int = 0) -> None:
        given.append((steps, seed))

    assert run_script(main) == 0
    assert given == [(5, 0)]
    monkeypatch.setattr(sys, "argv", ["x.py", "--epochs", "5"])
    assert run_script(main) == 2
    assert "--steps: training is counted in steps" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback():
    def work() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        run_command(work)
