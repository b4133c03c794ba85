"""The page in which a world is played: its socket, what it refuses, and keys in a real browser."""

import io
import json
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

import unmelt as um

pytest.importorskip("fastapi")
pytest.importorskip("websockets")

from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from unmelt.serve.play import MOST_VISITORS, application, default_keys


class Walker:
    """A white column that action 0 moves left and action 2 right."""

    actions = 3

    def __init__(self):
        self.at = 8

    def reset(self):
        return self.picture()

    def step(self, action):
        self.at = min(15, max(0, self.at + int(action) - 1))
        return self.picture()

    def picture(self):
        frame = torch.zeros(1, 1, 4, 16)
        frame[..., self.at] = 1
        return frame


def client(**settings):
    return TestClient(application(lambda visitor: Walker(), **settings), base_url="http://127.0.0.1:8001")


OWN = {"origin": "http://127.0.0.1:8001", "host": "127.0.0.1:8001"}


def column(content):
    return int(np.asarray(Image.open(io.BytesIO(content)))[0, :, 0].argmax())


def test_actions_hold_until_the_next_message():
    with client(fps=500.0).websocket_connect("/dream", headers=OWN) as dream:
        assert {column(dream.receive_bytes()) for _ in range(3)} == {8}
        dream.send_text(json.dumps({"action": 2}))
        seen = [column(dream.receive_bytes()) for _ in range(40)]
        assert seen[-1] == 15
        assert set(np.diff(seen)) <= {0, 1}
        dream.send_text(json.dumps({"action": 0}))
        assert [column(dream.receive_bytes()) for _ in range(60)][-1] == 0


@pytest.mark.parametrize(
    "message", ["nothing", "{}", '{"action": 3}', '{"action": -1}', '{"action": true}', "[" * 500, '{"action": 1.0}']
)
def test_a_message_that_is_not_understood_ends_the_dream(message):
    with client(fps=500.0).websocket_connect("/dream", headers=OWN) as dream:
        dream.send_text(message)
        with pytest.raises(WebSocketDisconnect) as ended:
            [dream.receive_bytes() for _ in range(200)]
        assert ended.value.code == 1008


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example", "host": "127.0.0.1:8001"}, {"origin": "http://a.b", "host": "a.b"}],
)
def test_pages_of_other_sites_are_refused(headers):
    visitor = client()
    with pytest.raises(WebSocketDisconnect), visitor.websocket_connect("/dream", headers=headers):
        pass
    assert visitor.get("/about", headers=headers).status_code == 403
    assert visitor.get("/", headers=OWN).status_code == 200


def test_there_are_only_so_many_visitors():
    visitor = client(fps=500.0)
    open_ones = [visitor.websocket_connect("/dream", headers=OWN) for _ in range(MOST_VISITORS)]
    for one in open_ones:
        one.__enter__().receive_bytes()
    with visitor.websocket_connect("/dream", headers=OWN) as late, pytest.raises(WebSocketDisconnect) as ended:
        late.receive_bytes()
    assert ended.value.code == 1013
    for one in open_ones:
        one.__exit__(None, None, None)


def test_keys_have_one_action_each():
    for actions in range(2, 9):
        keys = default_keys(actions)
        assert len(set(keys)) == len(keys) == actions


@contextmanager
def running(app):
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(20)


def wait(holds, seconds=20):
    """The page's policy lets nothing be evaluated in it again and again; so it is asked from here."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_keys_move_the_dream_in_a_browser(browser):
    from lab import chromium

    shown = """() => { const c = document.getElementById("dream");
      const d = c.getContext("2d").getImageData(0, 0, c.width, 1).data;
      return [...Array(c.width).keys()].findIndex((i) => d[4 * i] > 128); }"""
    app = application(lambda visitor: Walker(), fps=60.0)
    with running(app) as address, chromium.visit(browser, address) as visit:
        page = visit.open(until="#dream[data-frames]").page
        assert page.evaluate(shown) == 8
        page.keyboard.down("ArrowRight")
        wait(lambda: page.evaluate(shown) == 15)
        page.keyboard.up("ArrowRight")
        page.keyboard.down("ArrowLeft")
        wait(lambda: page.evaluate(shown) == 0)
        page.keyboard.up("ArrowLeft")
        wait(lambda: int(page.locator("#rate").text_content()) > 5)
        assert page.locator("#keys button").all_text_contents() == ["Left", "Right"]


def test_a_trained_world_is_played(tmp_path):
    um.data.save_episodes(um.data.PaddleGame().play(12, 20), tmp_path / "games.npz")
    settings = {"episodes": tmp_path / "games.npz", "width": 4, "steps": 2, "batch": 2, "picture_every": 0}
    um.recipe.world(**settings).fit(tmp_path / "run", quiet=True)
    model = um.load(tmp_path / "run", "cpu")
    app = application(lambda visitor: um.World(model, steps=1, seed=visitor), fps=500.0)
    with TestClient(app, base_url="http://localhost").websocket_connect(
        "/dream", headers={"host": "localhost"}
    ) as dream:
        dream.send_text('{"action": 2}')
        pictures = [Image.open(io.BytesIO(dream.receive_bytes())) for _ in range(3)]
    assert {one.size for one in pictures} == {(32, 32)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits"], "a model of windows of frames"),
        (["digits", "--fps", "0"], "frames per second, above 0"),
        (["nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_played_is_one_sentence(arguments, message, capsys):
    from unmelt.cli import main

    assert main(["play", *arguments]) == 2
    assert message in capsys.readouterr().err
