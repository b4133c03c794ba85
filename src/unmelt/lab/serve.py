"""The lab as a server: the contents page and every chapter on one port.

Chapters are read-only apps: a reader moves what the page offers and can run nothing else. Every visitor of a chapter
has their own kernel, a thread of this process, which ends some time after the page is closed. `edit` opens copies of
the chapters in marimo's editor instead.
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
"""The first port that is tried, and how many ports are tried."""

NEEDED = ("marimo", "anywidget", "zmq", "uvicorn", "sklearn", "tokenizers")
"""Modules that the extra `lab` installs."""


class AlreadyOpenError(Exception):
    """Another lab is running at the address in the message."""


def check_installed() -> None:
    """Check that everything the lab needs is installed.

    Raises:
        UsageError: If a package is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the lab without {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            "what its pages are made with",
            "pip install 'unmelt[lab]'",
        )


def application(token: str = "", local_only: bool = True) -> Callable:
    """The lab as an ASGI application.

    Args:
        token: Token that a visitor must show; empty for none.
        local_only: Accept only requests to a name of this machine.

    Returns:
        The application.
    """
    import marimo
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse, JSONResponse
    from starlette.routing import Mount, Route

    from unmelt.lab.access_control import IDENTITY, Guard
    from unmelt.serve.body_limit import BodyLimit

    builder = marimo.create_asgi_app(quiet=True, include_code=True)
    for chapter in chapters():
        builder = builder.with_app(path=f"/{chapter.name}", root=str(chapter.path))

    def contents(_: object) -> HTMLResponse:
        return HTMLResponse(page())

    def identity(_: object) -> JSONResponse:
        return JSONResponse({"lab": "unmelt"})

    routes = [Route("/", contents), Route(IDENTITY, identity), Mount("/", builder.build())]
    return Guard(BodyLimit(Starlette(routes=routes)), token, local_only)


def lab_at(host: str, port: int) -> bool:
    """Whether a lab answers at a host and port.

    Args:
        host: Name or address.
        port: Port number.

    Returns:
        True if it does.
    """
    try:
        with urllib.request.urlopen(f"http://{address(host)}:{port}/lab.json", timeout=2) as answer:
            return bool(json.load(answer) == {"lab": "unmelt"})
    except (OSError, ValueError):
        return False


def address(host: str) -> str:
    """A host as it is written in a URL that a browser on this machine can open.

    Args:
        host: Name or address that the server is bound to.

    Returns:
        The host part of the URL; wildcard addresses become loopback ones.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def listening(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Args:
        host: Name or address to bind to.
        port: Port number; 0 for the first free one from `PORT` on.

    Returns:
        The socket.

    Raises:
        AlreadyOpenError: If a lab is already running there.
        UsageError: If the port is invalid or another program uses it.
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
    """A socket bound to the port, or None if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there the option would let two programs share a port
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
    """Serve the lab until interrupted.

    Args:
        bound: The listening socket.
        token: Token that a visitor must show; empty for none.
        local_only: Accept only requests to a name of this machine.
        ready: Called once, when the contents page can be requested.
    """
    import uvicorn

    from unmelt.serve.body_limit import MOST_BYTES

    settings = uvicorn.Config(
        application(token, local_only), log_level="error", timeout_graceful_shutdown=1, ws_max_size=MOST_BYTES
    )
    server = uvicorn.Server(settings)

    def wait() -> None:
        while not server.started and not server.should_exit:
            time.sleep(0.02)
        if server.started:
            ready()

    threading.Thread(target=wait, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):  # one interrupt ends it without a traceback
        server.run(sockets=[bound])


def show(address: str) -> None:
    """Open an address in a browser, if there is one.

    Args:
        address: The URL.
    """
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(address)


def edit(folder: Path, host: str, port: int, browser: bool, token: str = "") -> int:
    """Open copies of the chapters in marimo's editor, which always requires a token. Existing copies are kept.

    Args:
        folder: Folder for the copies.
        host: Name or address to bind to.
        port: Port number; 0 for marimo's choice.
        browser: Open a browser.
        token: The editor's token; empty for one that marimo makes up and prints.

    Returns:
        The editor's exit code.

    Raises:
        UsageError: If a lab is already running on the port.
    """
    from unmelt.run_folder import writable

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
    # The token is not put into the command, where every user of the machine could read it.
    command += ["--token-password-file", "-"]
    return subprocess.run(command, input=token, text=True, check=False).returncode
