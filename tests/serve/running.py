"""A server in a thread of the test."""

import socket
import threading
import time
from contextlib import contextmanager


@contextmanager
def served(models, settings):
    import uvicorn

    from unmelt.serve.app import application

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application(models, settings), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:  # else a test that fails would never end
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
