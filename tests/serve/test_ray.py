"""Two servers behind one address: a request is answered by either, and goes on when one of them is killed."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from test_serve_cli import free_port

import unmelt as um
from unmelt.cli import main


def test_replicas_need_ray(capsys, monkeypatch):
    from unmelt.cli import serve

    pytest.importorskip("fastapi")
    assert main(["serve", "digits", "--replicas", "2"]) == 2
    assert "Ray Serve" in capsys.readouterr().err
    has = serve.find_spec
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "ray" else has(name))
    assert main(["serve", "digits", "--ray"]) == 2
    assert "pip install 'unmelt[ray]'" in capsys.readouterr().err
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    assert main(["serve", "digits", "--ray"]) == 2
    assert "pip install 'unmelt[ray]'" in capsys.readouterr().err  # which brings those of the server
    assert main(["serve", "digits"]) == 2
    assert "pip install 'unmelt[serve]'" in capsys.readouterr().err


def test_only_replicas_load_weights(tmp_path, monkeypatch):
    """What the command itself needs is in config.json: it serves folders without weights to replicas that have them."""
    from unmelt.cli import serve
    from unmelt.serve import replicas

    pytest.importorskip("fastapi")
    seen = []
    has = serve.find_spec
    monkeypatch.setattr(serve, "find_spec", lambda name: name == "ray" or has(name))
    monkeypatch.setattr(replicas, "run", lambda places, *_, **where: seen.append((places, where["replicas"])))
    um.load("ring", "cpu").save(tmp_path / "circle")
    for path in (tmp_path / "circle").glob("*.safetensors"):
        path.unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "circle", "digits", "--ray", "--replicas", "2"]) == 0
    assert seen == [({"circle": tmp_path / "circle", "digits": Path("digits")}, (2, 2))]
    assert main(["serve", "circle"]) == 2  # which loads them itself


@pytest.mark.slow
def test_replicas_that_cannot_load_a_model_are_one_message(tmp_path):
    pytest.importorskip("ray")
    um.load("ring", "cpu").save(tmp_path / "circle")
    weights = tmp_path / "circle" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    command = [sys.executable, "-m", "unmelt.cli", "serve", str(tmp_path / "circle"), "--ray", "--device", "cpu"]
    done = subprocess.run([*command, "--port", str(free_port())], capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    assert "model.safetensors cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_requests_go_on_when_a_replica_is_killed(tmp_path):
    pytest.importorskip("ray")
    import psutil

    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "unmelt.cli", "serve", "digits", "--ray", "--replicas", "2", "--port", str(port)]
    with open(tmp_path / "said.txt", "w", encoding="utf-8") as said:
        process = subprocess.Popen([*command, "--device", "cpu"], stdout=said, stderr=said, env=dict(os.environ))

    def asked(**body):
        content = json.dumps({"model": "digits", "prompt": "3", "steps": 20, **body}).encode()
        sent = urllib.request.Request(f"{base}/v1/images/generations", content, {"Content-Type": "application/json"})
        return urllib.request.urlopen(sent, timeout=60).read()

    def replicas():
        found = psutil.Process(process.pid).children(recursive=True)
        return [each for each in found if "Replica" in each.name() or "Replica" in " ".join(each.cmdline())]

    def until(condition, seconds=90):
        end = time.monotonic() + seconds
        while not condition():
            assert process.poll() is None, (tmp_path / "said.txt").read_text(encoding="utf-8")
            assert time.monotonic() < end
            time.sleep(0.2)

    def answers():
        try:
            return len(json.loads(asked(seed=1))["data"]) == 1
        except OSError:
            return False

    try:
        until(answers)
        until(lambda: len(replicas()) == 2)
        first = json.loads(asked(seed=1))["data"]
        served, failed, stop = [], [], threading.Event()

        def client():
            while not stop.is_set():
                try:
                    served.append(json.loads(asked(seed=1))["data"])
                except OSError as error:
                    failed.append(error)

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(served) >= 8)
        before = {each.pid for each in replicas()}
        replicas()[0].kill()
        seen = len(served)
        until(lambda: len(served) >= seen + 20)
        until(lambda: len({each.pid for each in replicas()} - before) == 1)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert len(failed) <= 4  # those that the killed one had
        assert all(each == first for each in served)
        assert b"image_generation.completed" in asked(seed=1, stream=True, partial_images=2)
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for each in family:
            each.terminate()
        _, alive = psutil.wait_procs(family, timeout=20)
        for each in alive:
            each.kill()
