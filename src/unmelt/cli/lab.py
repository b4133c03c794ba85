"""`unmelt lab`: the interactive chapters, in the browser."""

import os
import secrets
from pathlib import Path

from unmelt.lab import serve
from unmelt.terminal import notify


def lab(
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "",
    edit: bool = False,
    folder: Path = Path("lab"),
    browser: bool = True,
) -> None:
    """Serve the interactive chapters, and open their contents page in the browser.

    Args:
        host: Address to listen on. The default accepts connections from this machine only; any other needs a token.
        port: Port to listen on. Default: the first free port from 8730 on.
        token: Token that visitors must present. Default: UNMELT_LAB_TOKEN, or a random one where one is needed.
        edit: Open copies of the chapters in marimo's editor instead of serving read-only pages.
        folder: Folder for those copies.
        browser: Open the browser.
    """
    serve.check_installed()
    from unmelt.lab.access_control import QUESTION
    from unmelt.serve.loopback import is_loopback

    token = token or os.environ.get("UNMELT_LAB_TOKEN", "")
    if edit:
        code = serve.edit(folder, host, port, browser, token)
        if code:
            raise SystemExit(code)
        return
    local = is_loopback(host)
    token = token or ("" if local else secrets.token_urlsafe(24))
    try:
        bound = serve.listening(host, port)
    except serve.AlreadyOpenError as there:
        notify(f"the lab is open already: {there}")
        if browser:
            serve.show(str(there))
        return
    address = f"http://{serve.address(host)}:{bound.getsockname()[1]}/" + (f"?{QUESTION}={token}" if token else "")

    def ready() -> None:
        notify(f"the lab is open: {address}", "Ctrl-C ends it")
        if browser:
            serve.show(address)

    serve.serve(bound, token, local, ready)
    os._exit(0)  # kernels are threads, and a normal exit would wait for one that computes
