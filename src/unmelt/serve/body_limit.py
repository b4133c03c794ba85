"""A limit on what may be sent to a server in one request, so that an upload cannot fill the memory."""

from collections.abc import Callable

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 2**24
"""Bytes of one request: a drawing and a few sliders need a thousandth of it."""


class TooLargeError(Exception):
    """A request that turned out to be larger than it may be."""


class BodyLimit:
    """An ASGI application that answers 413 to requests larger than a limit, said or unsaid.

    Args:
        app: The application.
        most: Bytes that a request's body may have.
        refusal: The answer with status 413, from a sentence that says why. None: the sentence as plain text.
    """

    def __init__(self, app: ASGIApp, most: int = MOST_BYTES, refusal: Callable[[str], Response] | None = None) -> None:
        self.app, self.most, self.refusal = app, most, refusal or _plain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request: pass it on, or refuse it as soon as it is too large.

        Args:
            scope: ASGI scope.
            receive: ASGI receive channel.
            send: ASGI send channel.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received, too_large, started = 0, False, False

        async def counted() -> Message:
            nonlocal received, too_large
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.most:
                too_large = True
                raise TooLargeError
            return message

        async def answered(message: Message) -> None:
            nonlocal started
            if not too_large:  # else the application answers that it failed
                started = True
                await send(message)

        said = next((value for name, value in scope["headers"] if name.lower() == b"content-length"), b"0")
        too_large = not said.isdigit() or int(said[:20]) > self.most
        if not too_large:
            try:
                await self.app(scope, counted, answered)
            except TooLargeError:
                pass
            except Exception:
                if not too_large:
                    raise
        if too_large and not started:
            answer = self.refusal(f"Up to {self.most:,} bytes are taken at once.")
            answer.headers["connection"] = "close"
            await answer(scope, receive, send)


def _plain(reason: str) -> Response:
    return PlainTextResponse(f"{reason}\n", status_code=413)
