"""A server in a thread of the test, and coroutines in one of their own."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def in_own_loop(coroutine):
    """What a coroutine returns; it runs in a thread, since an open browser of other tests has the loop of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


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
