"""A world to play in: a page whose keys move the dream, frames over a web socket.

    client -> {"action": 2}      what is pressed now; it holds until the next message
    server -> a frame as PNG, at most `fps` a second, each made of the action that held when it was begun

Every visitor has a world of its own, and the model is in memory before the first one comes. Only this machine's own
names are answered, and no page of another site: a web socket is not protected by the browser's same-origin rule.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import torch
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse, Response
from jaxtyping import Float
from PIL import Image
from starlette.requests import HTTPConnection, Request
from torch import Tensor

from unmelt.serve.loopback import is_loopback
from unmelt.serve.page import HEADERS

FILES = {"/": "play.html", "/play.js": "play.js"}
"""Files by their addresses."""

MOST_VISITORS, LONGEST = 4, 200
"""Worlds at a time, and characters of a message."""

POLICY, BUSY = 1008, 1013
"""Codes with which a web socket is closed: a message that is not understood; too many visitors."""


class Playable(Protocol):
    """What is played: `um.World`, or your own."""

    actions: int
    """Number of actions."""

    def reset(self) -> Float[Tensor, "rows channels height width"]:
        """Begin.

        Returns:
            The first frame, in [0, 1], one row.
        """

    def step(self, action: Any) -> Float[Tensor, "rows channels height width"]:
        """The next frame.

        Args:
            action: The number of the action.

        Returns:
            The frame, in [0, 1], one row.
        """


def default_keys(actions: int) -> tuple[str, ...]:
    """The key of each action, by its name in browsers; an empty one is what happens while no key is pressed.

    Args:
        actions: Number of actions.

    Returns:
        Arrows for up to five actions, digits for more.
    """
    arrows = {
        2: ("", "ArrowUp"),
        3: ("ArrowLeft", "", "ArrowRight"),
        4: ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"),
        5: ("", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"),
    }
    return arrows.get(actions, ("", *map(str, range(1, actions))))


def application(make: Callable[[int], Playable], fps: float = 30.0, keys: Sequence[str] = ()) -> FastAPI:
    """Make the application.

    Args:
        make: (number of the visitor) -> a world of its own.
        fps: Most frames per second.
        keys: The key of each action; empty for `default_keys`.

    Returns:
        An ASGI application.
    """
    app = FastAPI(title="unmelt play", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.visitors, app.state.came = 0, 0
    pressed = tuple(keys) or default_keys(make(0).actions)

    @app.middleware("http")
    async def guard(request: Request, go_on: Any) -> Response:
        if _is_own(request):
            answer: Response = await go_on(request)
            return answer
        return JSONResponse({"error": "this page answers to this machine's own names"}, 403)

    def add(address: str, name: str) -> None:
        @app.get(address)
        async def page() -> FileResponse:
            return FileResponse(Path(__file__).with_name("page") / name, headers=HEADERS)

    for address, name in FILES.items():
        add(address, name)

    @app.get("/about")
    async def about() -> Any:
        return {"keys": pressed, "fps": fps}

    @app.websocket("/dream")
    async def dream(socket: WebSocket) -> None:
        if not _is_own(socket):
            await socket.close(POLICY)
            return
        await socket.accept()
        if app.state.visitors >= MOST_VISITORS:
            await socket.close(BUSY, f"at most {MOST_VISITORS} visitors at a time")
            return
        app.state.visitors, app.state.came = app.state.visitors + 1, app.state.came + 1
        try:
            await _play(socket, make(app.state.came), pressed, 1 / fps)
        finally:
            app.state.visitors -= 1

    return app


def _is_own(request: HTTPConnection) -> bool:
    """Whether this machine's own page asks, under one of its own names."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    return is_loopback(urlsplit(f"//{host}").hostname or "") and (origin is None or urlsplit(origin).netloc == host)


async def _play(socket: WebSocket, world: Playable, keys: Sequence[str], least: float) -> None:
    """Send frames until the visitor leaves."""
    rest = keys.index("") if "" in keys else 0
    held = [rest]

    async def listen() -> None:
        with suppress(WebSocketDisconnect):
            while True:
                message = await socket.receive_text()
                action = _action(message, len(keys))
                if action is None:
                    await socket.close(POLICY, 'a message such as {"action": 1} is needed')
                    return
                held[0] = action

    listening = asyncio.create_task(listen())
    try:
        frame = await asyncio.to_thread(world.reset)
        while not listening.done():
            begun = time.perf_counter()
            await socket.send_bytes(png(frame[0]))
            frame = await asyncio.to_thread(world.step, held[0])
            await asyncio.sleep(max(0.0, least - (time.perf_counter() - begun)))
    except (WebSocketDisconnect, RuntimeError):  # the visitor has left while a frame was on its way
        pass
    finally:
        listening.cancel()


def _action(message: str, actions: int) -> int | None:
    """The action that a message asks for; None if it asks for none that there is."""
    try:
        found = json.loads(message)["action"] if len(message) <= LONGEST else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(found, int) or isinstance(found, bool):
        return None
    return found if 0 <= found < actions else None


def png(frame: Float[Tensor, "channels height width"]) -> bytes:
    """A frame as a PNG file.

    Args:
        frame: [channels, height, width] in [0, 1], of 1 or 3 channels; numbers outside are clipped.

    Returns:
        The file.
    """
    pixels = (frame.detach().float().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)
    page = BytesIO()
    Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()).save(page, "PNG", compress_level=1)
    return page.getvalue()
