"""What reaches the terminal: no control characters of others, no crash of an encoding, a quiet end of a pipe."""

import json
import math
import os
import signal
import subprocess
import sys
import threading

import pytest
from PIL import Image
from test_cli import ring, unmelt  # noqa: F401
from test_cli_processes import process

import unmelt as um
from unmelt.cli import output


def piped(*args, **environment):
    command = [sys.executable, "-m", "unmelt.cli", *map(str, args)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, env=env, capture_output=True, timeout=120, check=False)


def test_a_closed_pipe_ends_a_command_silently():
    running = process("recipes")
    running.stdout.close()
    assert running.stderr.read() == ""
    assert running.wait(60) == 141


@pytest.mark.parametrize("coding", ["ascii", "cp1252"])
def test_output_that_cannot_be_encoded_is_escaped(tmp_path, coding):
    folder = tmp_path / "猫"
    model = um.recipe.ring(width=8, depth=1, steps=3, batch=8)
    model.classes = ("猫", "\x1b[31m", "c")
    model.save(folder)
    lines = [
        {"step": n, "loss": 1.0 / n, "lr": 1e-3, "rows_per_second": 1.0, "seconds": 1.0, "skipped": 0} for n in (1, 2)
    ]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line | {"memory": 1}) + "\n" for line in lines), encoding="utf-8"
    )
    ended = piped("show", folder, PYTHONIOENCODING=coding, NO_COLOR="1", COLUMNS="40")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"\\u732b" in ended.stdout
    assert b"\\x1b[31m" in ended.stdout
    assert b"\x1b" not in ended.stdout
    assert b"\\u2588" not in ended.stdout
    ended = piped("show", tmp_path / "犬", PYTHONIOENCODING=coding)
    assert ended.returncode == 2
    assert b"\\u72ac" in ended.stderr


def test_names_of_classes_and_files_cannot_control_the_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil = "\x1b[31mcat\u202e"
    for name in (evil, "[red]dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (9, 9), (20 * number, 9, 0)).save(tmp_path / "images" / name / f"{number}.png")
    (tmp_path / "images" / evil / "\x1b]0;bad\x07.png").write_text("no image", encoding="utf-8")
    tiny = ("--size", 4, "--width", 4, "--blocks", 1, "--steps", 1, "--batch", 2, "--precision", "float32")
    assert unmelt("train", "images", "--folder", "images", "--out", "run\x1b[2J", *tiny) == 0
    assert unmelt("show", "run\x1b[2J") == 0
    assert unmelt("sample", "run\x1b[2J", "--label", "no\x1b", "--rows", 2) == 2
    named = um.load("run\x1b[2J").classes[1]
    assert unmelt("sample", "run\x1b[2J", "--label", named, "--rows", 2) == 0
    assert unmelt("average", "run\x1b[2J", "--ema-std", 0.1) == 2
    out, err = capsys.readouterr()
    for shown in (out, err):
        assert not set(shown) & set("\x1b\x07\u202e")
        assert "\\x1b[2J" in shown
    assert "[red]dog, \\x1b[31mcat\\u202e" in out


@pytest.mark.parametrize("columns", [1, 20, 200])
def test_tables_fit_narrow_and_wide_terminals(ring, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert unmelt("show", ring) == 0
    assert unmelt("recipes") == 0
    assert "Traceback" not in capsys.readouterr().err


def test_json_holds_no_number_that_is_not_finite(capsys):
    output.print_json({"a": math.nan, "b": [1.5, -math.inf], "c": (1, "x")})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": [1, "x"]}


def test_sigterm_ends_a_command_with_143_and_leaves_nothing(ring, tmp_path, capsys):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert unmelt("sample", ring, "--rows", 100_000, "--steps", 1000, "--out", tmp_path / "new" / "a.npy") == 143
    assert capsys.readouterr() == ("", "unmelt: terminated\n")
    assert not list(tmp_path.iterdir())
