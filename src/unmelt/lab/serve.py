"""The lab as a server: the contents page and every chapter on one port.

Chapters are read-only apps: a reader moves what the page offers, and can run nothing else. Each visitor to a chapter
has a kernel of their own, a thread here, which ends some time after the page is closed. `edit` opens copies of the
chapters in marimo's editor instead.
"""

import contextlib
import errno
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from unmelt.errors import UsageError
from unmelt.lab.contents import chapters, page

PORT, TRIED = 8730, 20
"""Where it is looked for first, and how many ports after it."""

NEEDED = ("marimo", "anywidget", "zmq", "uvicorn", "sklearn", "tokenizers")
"""What the extra `lab` brings."""


class AlreadyOpenError(Exception):
    """Another lab is there."""


def check_installed() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the lab without {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            "what its pages are made with",
            "pip install 'unmelt[lab]'",
        )


def application(token: str = "", local_only: bool = True) -> Callable:
    """The whole lab, as an ASGI application."""
    import marimo
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse, JSONResponse
    from starlette.routing import Mount, Route

    from unmelt.lab.guard import IDENTITY, Guard

    builder = marimo.create_asgi_app(quiet=True, include_code=True)
    for chapter in chapters():
        builder = builder.with_app(path=f"/{chapter.name}", root=str(chapter.path))

    def contents(_: object) -> HTMLResponse:
        return HTMLResponse(page())

    def identity(_: object) -> JSONResponse:
        return JSONResponse({"lab": "unmelt"})

    routes = [Route("/", contents), Route(IDENTITY, identity), Mount("/", builder.build())]
    return Guard(Starlette(routes=routes), token, local_only)


def lab_at(host: str, port: int) -> bool:
    """Whether a lab answers there."""
    try:
        with urllib.request.urlopen(f"http://{address(host)}:{port}/lab.json", timeout=2) as answer:
            return bool(json.load(answer) == {"lab": "unmelt"})
    except (OSError, ValueError):
        return False


def address(host: str) -> str:
    """As it stands in an address that a browser on this machine can open."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def listening(host: str, port: int) -> socket.socket:
    """A socket bound to this port, or, for port 0, to the first that is free from `PORT` on.

    A lab that is already there is `AlreadyOpenError`; another program on a port that was asked for is a `UsageError`.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"port={port}", "a number from 1 to 65535", f"--port {PORT}")
    ports = [port] if port else list(range(PORT, PORT + TRIED))
    for one in ports:
        bound = _bound(host, one)
        if bound is not None:
            return bound
        if lab_at(host, one):
            raise AlreadyOpenError(f"http://{address(host)}:{one}/")
    free = "" if port == 0 else "unmelt lab"
    raise UsageError(
        f"port {port}, which another program uses" if port else f"ports {ports[0]} to {ports[-1]}, all of them in use",
        "one that is free",
        free or f"--port {ports[-1] + 1}",
    )


def _bound(host: str, port: int) -> socket.socket | None:
    """None if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # where it would let two programs have one port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise UsageError(
            f"{host}, port {port}: {error.strerror or error}", "an address of this machine, a port that it may use", ""
        ) from None
    return made


def serve(bound: socket.socket, token: str, local_only: bool, ready: Callable[[], None]) -> None:
    """Serve until told to end. `ready` is called once, when the contents page can be had."""
    import uvicorn

    settings = uvicorn.Config(
        application(token, local_only), log_level="error", timeout_graceful_shutdown=1, ws_max_size=2**24
    )
    server = uvicorn.Server(settings)

    def wait() -> None:
        while not server.started and not server.should_exit:
            time.sleep(0.02)
        if server.started:
            ready()

    threading.Thread(target=wait, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):  # told once is enough
        server.run(sockets=[bound])


def show(address: str) -> None:
    """In a browser, if there is one."""
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(address)


def edit(folder: Path, host: str, port: int, browser: bool, token: str = "") -> int:
    """Copies of the chapters in marimo's editor, which always wants a token: this one, or one that it makes up and
    prints. Returns its exit code.

    Copies that are there already are kept as they are.
    """
    from unmelt.run import writable

    if port:
        try:
            listening(host, port).close()
        except AlreadyOpenError:
            raise UsageError(
                f"port {port}, where a lab is open already",
                "another one to edit on",
                f"unmelt lab --edit --port {port + 1}",
            ) from None
    writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for chapter in chapters():
        if not (folder / chapter.path.name).exists():
            shutil.copyfile(chapter.path, folder / chapter.path.name)
    command = [sys.executable, "-m", "marimo", "edit", str(folder), "--host", host, "--skip-update-check"]
    command += ["--port", str(port)] if port else []
    command += [] if browser else ["--headless"]
    if not token:
        return subprocess.run(command, check=False).returncode
    # Not in the command itself, where every user of the machine could read it.
    command += ["--token-password-file", "-"]
    return subprocess.run(command, input=token, text=True, check=False).returncode
