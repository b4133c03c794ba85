"""`unmelt serve`: a process that serves until it is interrupted, and mistakes that are refused."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

import unmelt as um
from unmelt.cli import main

pytest.importorskip("fastapi")


def test_a_process_serves_until_it_is_interrupted():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "unmelt.cli", "serve", "digits", "--port", str(port), "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while True:
            try:
                answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models").read()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)
        assert [each["id"] for each in json.loads(answer)["data"]] == ["digits"]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert f"serving digits at http://127.0.0.1:{port}/v1" in said
    assert "Traceback" not in said
    assert process.returncode in (0, 130)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["digits", "--host", "0.0.0.0"], "without a key"),
        (["digits", "digits"], "two models called 'digits'"),
        (["nowhere"], "nowhere"),
        (["digits", "--batch", "0"], "1 <= batch <= rows"),
        (["digits", "--steps", "0"], "limits of at least 1"),
    ],
)
def test_mistakes_are_refused(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNMELT_API_KEY", raising=False)
    assert main(["serve", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_missing_packages_are_named(capsys, monkeypatch):
    from unmelt.cli import serve

    monkeypatch.setattr(serve, "NEEDED", ("fastapi", "no_such_package"))
    assert main(["serve", "digits"]) == 2
    error = capsys.readouterr().err
    assert "without no_such_package" in error
    assert "pip install 'unmelt[serve]'" in error


def test_an_autoencoder_is_refused(tmp_path, capsys):
    import numpy as np

    np.savez(tmp_path / "x.npz", images=np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8))
    model = um.recipe.autoencoder(folder=tmp_path / "x.npz", size=8, steps=1, batch=2, picture_every=0)
    model.fit(tmp_path / "codec", "cpu", quiet=True)
    assert main(["serve", str(tmp_path / "codec")]) == 2
    assert "an autoencoder" in capsys.readouterr().err
