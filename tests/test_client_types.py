"""Types are complete for those who use unmelt: a program that uses each facade passes `mypy --strict`."""

import os
import subprocess
import sys

import pytest
from doc_pages import ROOT

CLIENT = ROOT / "tests" / "client" / "each_facade.py"
FACADES = ["CodecModel", "DrafterModel", "Model", "Policy", "SpeechModel", "TextModel", "VocoderModel", "World"]


def typed(path):
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", str(path)]
    known = {**os.environ, "MYPYPATH": str(ROOT / "src"), "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache" / "client")}
    return subprocess.run(command, capture_output=True, text=True, env=known, cwd=path.parent)


@pytest.mark.slow
def test_a_program_that_uses_every_facade_passes_mypy_strict(tmp_path):
    said = typed(CLIENT)
    assert said.returncode == 0, said.stdout
    wrong = tmp_path / "wrong.py"
    code = CLIENT.read_text(encoding="utf-8")
    wrong.write_text(code.replace("steps=20, seed=0", 'steps="20", sed=0'), encoding="utf-8")
    said = typed(wrong)
    assert "call-arg" in said.stdout or "arg-type" in said.stdout


def test_the_program_uses_every_facade():
    code = CLIENT.read_text(encoding="utf-8")
    assert all(f"um.{name}" in code for name in FACADES)
