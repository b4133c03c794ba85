"""`unmelt lab`: every idea of the book as a page to touch, in the browser."""

import os
import secrets
from pathlib import Path

from unmelt.cli.output import notify
from unmelt.lab import serve


def lab(
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "",
    edit: bool = False,
    folder: Path = Path("lab"),
    browser: bool = True,
) -> None:
    """Open the interactive chapters: a contents page in the browser, and each chapter from there.

    Args:
        host: What to listen on; this machine alone, unless told otherwise. Others need a token.
        port: Of this one, or the first that is free from 8730 on.
        token: That visitors must show; from UNMELT_LAB_TOKEN, or made up, where one is needed and none is given.
        edit: Copies of the chapters in marimo's editor, instead of read-only pages.
        folder: Where those copies are.
        browser: Whether to open the browser.
    """
    serve.check_installed()
    from unmelt.lab.guard import QUESTION, is_loopback

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
        notify(f"the lab is open: {address}\nCtrl-C ends it")
        if browser:
            serve.show(address)

    serve.serve(bound, token, local, ready)
    os._exit(0)  # kernels are threads, and one that computes would be waited for
