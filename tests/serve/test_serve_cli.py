"""`unmelt serve`: a process that serves until it is interrupted, and mistakes that are refused."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

import unmelt as um
from unmelt.cli import main

pytest.importorskip("fastapi")


def started(port, *options):
    """A server's process, once it answers."""
    command = [sys.executable, "-m", "unmelt.cli", "serve", "digits", "--port", str(port), "--device", "cpu", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
            return process
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_process_serves_until_it_is_interrupted():
    port = free_port()
    with started(port) as process:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models").read()
        assert [each["id"] for each in json.loads(answer)["data"]] == ["digits"]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert f"serving digits at http://127.0.0.1:{port}/v1" in said
    assert "Traceback" not in said
    assert process.returncode in (0, 130)


@pytest.mark.slow
def test_a_killed_server_leaves_nothing_and_starts_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1/images/generations"

    def asked(**body):
        content = json.dumps({"model": "digits", "prompt": "3", "seed": 1, **body}).encode()
        return urllib.request.urlopen(urllib.request.Request(url, content, {"Content-Type": "application/json"}))

    failed = []

    def long_one():
        try:
            asked(n=10, steps=10_000).read()
        except OSError as error:
            failed.append(error)

    made = []
    for _ in range(2):
        with started(port, "--steps", "10000") as process:
            made.append(json.load(asked(steps=5))["data"])
            thread = threading.Thread(target=long_one)
            thread.start()
            time.sleep(0.5)
            process.kill()
            thread.join(20)
            process.communicate()
    assert len(failed) == 2
    assert made[0] == made[1]
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.slow
def test_no_request_that_fits_or_breaks_the_schema_is_a_fault_of_the_server():
    pytest.importorskip("schemathesis")
    port = free_port()
    with started(port) as process:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json"]
        command += ["--checks", "not_a_server_error", "--max-examples", "40", "--continue-on-failure"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=500)
        process.kill()
        process.communicate()
    assert found.returncode == 0, found.stdout[-3000:]


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
