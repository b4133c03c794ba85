"""The lab as a server: what it refuses, what it answers, and how it ends."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
from importlib import import_module

import psutil
import pytest
from lab import chromium

from unmelt.cli import main
from unmelt.errors import UsageError
from unmelt.lab import contents, serve
from unmelt.lab.access_control import Guard

command = import_module("unmelt.cli.lab")


def asked(address, path="/", method="GET", body=None, **headers):
    """(status, headers, text), without following redirects."""
    host = address.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request(method, path, body, {"Host": host, **headers})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read().decode()


def unmelt(*args):
    words = [sys.executable, "-m", "unmelt.cli", "lab", "--no-browser", *args]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def test_the_lab_starts_quickly_and_lists_every_chapter():
    port = chromium.free_port()
    with chromium.served(port=port) as (process, address):
        taken = psutil.Process(process.pid).cpu_times()  # its own seconds, however busy the machine is
        assert taken.user + taken.system < 15
        status, _, page = asked(address)
        assert status == 200
        for chapter in contents.chapters():
            assert f'href="{chapter.name}/"' in page
        assert "http" not in page.replace('lang="en"', "")  # nothing is fetched from anywhere

        # Only this machine's own names, and only its own pages, are answered to.
        assert asked(address, Host="lab.example.com")[0] == 403
        assert asked(address, "/melting/", Origin="http://example.com")[0] == 403
        assert asked(address, Origin=address.rstrip("/"))[0] == 200
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        upgrade["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
        told = asked(address, "/melting/ws?session_id=s_1", Origin="http://example.com", **upgrade)
        assert told[0] == 403

        # A reader can move what is on the page, and run nothing.
        run = json.dumps({"cellIds": ["x"], "codes": ["1"]})
        kind = {"Content-Type": "application/json"}
        for path in ("run", "scratchpad/run", "save", "delete"):
            assert asked(address, f"/melting/api/kernel/{path}", "POST", run, **kind)[0] in (401, 403, 404, 405), path
        assert asked(address, "/melting/api/files/list_files", "POST", "{}", **kind)[0] in (401, 403, 404, 405)

        # A second lab says where the first is, and that is no mistake.
        second = unmelt("--port", str(port))
        assert second.returncode == 0
        assert f"open already: {address}" in second.stderr

        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)
        assert process.returncode == 0
        assert "Traceback" not in process.stderr.read()


def test_a_port_in_use_is_refused(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {taken}, which another program uses"):
            serve.listening("127.0.0.1", taken)
        assert main(["lab", "--no-browser", "--port", str(taken)]) == 2
        assert "another program uses" in capsys.readouterr().err
    for wrong in (-1, 65536):
        with pytest.raises(UsageError, match="65535"):
            serve.listening("127.0.0.1", wrong)


def test_without_a_port_the_next_free_one_is_used(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setattr(serve, "PORT", other.getsockname()[1])
        with serve.listening("127.0.0.1", 0) as bound:
            assert bound.getsockname()[1] > other.getsockname()[1]


def through(guard, path, query="", kind="http", **headers):
    """(status, headers) of a request to a guard around an application that answers 200 OK."""
    heads = {"host": "lab.example.com:8730", **headers}
    scope = {"type": kind, "path": path, "query_string": query.encode(), "server": ("0.0.0.0", 8730), "method": "GET"}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in heads.items()]
    said = []

    async def receive():
        return {"type": f"{kind}.connect"}

    async def send(message):
        said.append(message)

    with contextlib.suppress(StopIteration):  # nothing here waits for anything, so no loop is needed
        guard(scope, receive, send).send(None)
    first = said[0]
    if kind == "websocket":
        return first["type"], {}
    return first["status"], {name.decode(): value.decode() for name, value in first["headers"]}


async def welcome(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})


def test_a_lab_that_others_can_reach_requires_a_token():
    guard = Guard(welcome, token="a secret", local_only=False)
    for path, query in (("/", ""), ("/melting/", ""), ("/melting/api/status", ""), ("/", "access_token=wrong")):
        assert through(guard, path, query)[0] == 401
    assert through(guard, "/melting/ws", "access_token=a+secret", kind="websocket")[0] == "websocket.close"
    assert through(guard, "/lab.json")[0] == 200
    status, headers = through(guard, "/melting/", "access_token=a+secret&x=1")
    assert (status, headers["location"]) == (303, "/melting/?x=1")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    mine = cookie.split(";")[0]
    assert through(guard, "/", cookie=mine)[0] == 200
    assert through(guard, "/melting/ws", kind="websocket", cookie=mine)[0] == "websocket.accept"
    assert through(guard, "/", cookie=mine[:-3] + 'x"')[0] == 401
    assert through(guard, "/", cookie=mine, origin="http://elsewhere.example.com")[0] == 403
    assert through(guard, "//elsewhere/", "access_token=a+secret")[1]["location"].startswith("/elsewhere")


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_a_token_is_generated_where_one_is_required(monkeypatch, host, local):
    served = []
    monkeypatch.setattr(serve, "serve", lambda *given: served.append(given))
    monkeypatch.setattr(command.os, "_exit", lambda code: None)
    command.lab(host=host, port=chromium.free_port(), browser=False)
    bound, token, local_only, _ = served[0]
    bound.close()
    assert local_only == local
    assert len(token) == 0 if local else len(token) >= 32


def test_without_marimo_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "marimo" else True)
    with pytest.raises(UsageError, match=r"without marimo, which is not installed.*pip install 'unmelt\[lab\]'"):
        serve.check_installed()


def test_edit_opens_copies_and_keeps_existing_ones(monkeypatch, tmp_path):
    commands = []
    done = subprocess.CompletedProcess([], 0)
    given = []
    monkeypatch.setattr(
        serve.subprocess, "run", lambda words, **how: commands.append(words) or given.append(how) or done
    )
    mine = tmp_path / "lab" / "ch1_melting.py"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    assert serve.edit(tmp_path / "lab", "127.0.0.1", chromium.free_port(), browser=False) == 0
    assert mine.read_text(encoding="utf-8") == "mine"
    assert {path.name for path in mine.parent.iterdir()} == {each.path.name for each in contents.chapters()}
    assert "--headless" in commands[0]
    assert "--no-token" not in commands[0]

    # A token is told without standing in the list of processes.
    assert serve.edit(tmp_path / "lab", "127.0.0.1", 0, browser=True, token="a secret") == 0
    assert given[1]["input"] == "a secret"
    assert "a secret" not in commands[1]
    assert commands[1][-2:] == ["--token-password-file", "-"]


def test_editing_works_beside_an_open_lab(monkeypatch, tmp_path):
    monkeypatch.setattr(serve, "lab_at", lambda host, port: True)
    monkeypatch.setattr(serve.subprocess, "run", lambda words, **how: subprocess.CompletedProcess([], 0))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(UsageError, match="where a lab is open already"):
            serve.edit(tmp_path, "127.0.0.1", taken, browser=False)
        monkeypatch.setattr(serve, "PORT", taken)
        assert serve.edit(tmp_path, "127.0.0.1", 0, browser=False) == 0  # on a port of the editor's own
