"""Access control of the lab, for requests and web sockets alike.

    name     a lab that is bound to this machine answers only to this machine's names, so that no other site can reach
             it under a name of its own (DNS rebinding)
    origin   a browser states which page a request comes from; only the lab's own pages are accepted
    token    a lab that others can reach asks for a token once, in the address; a cookie remembers it

The one-line answer that identifies a lab (/lab.json) needs no token.
"""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from unmelt.serve.loopback import is_loopback

IDENTITY = "/lab.json"
QUESTION = "access_token"


class Guard:
    """An ASGI application that protects another one.

    Args:
        app: The application.
        token: Token that a visitor must show; empty for none.
        local_only: Accept only requests to a name of this machine.
    """

    def __init__(self, app: ASGIApp, token: str = "", local_only: bool = True) -> None:
        self.app, self.token, self.local_only = app, token, local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request: pass it on, refuse it, or set the cookie.

        Args:
            scope: ASGI scope.
            receive: ASGI receive channel.
            send: ASGI send channel.
        """
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if self.local_only and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            await self._refuse(scope, receive, send, f"This lab answers to this machine's own names, not to {host!r}.")
        elif "origin" in headers and urlsplit(headers["origin"]).netloc != host:
            await self._refuse(scope, receive, send, "A page of another site asked.")
        elif not self.token or scope["path"] == IDENTITY or self._remembered(scope, headers):
            await self.app(scope, receive, send)
        elif scope["type"] == "http" and self._has_token(scope):
            await self._let_in(scope, receive, send)
        else:
            reason = f"This lab wants its token: open the address that it printed when it started, with ?{QUESTION}=..."
            await self._refuse(scope, receive, send, reason, 401)

    def _is(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())

    def _cookie(self, scope: Scope) -> str:
        """The cookie's name, by port: all ports of a machine share cookies, but labs must not."""
        return f"unmelt_lab_{(scope.get('server') or ('', 0))[1]}"

    def _remembered(self, scope: Scope, headers: dict[str, str]) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie(scope))
        except CookieError:
            return False
        return found is not None and self._is(found.value)

    def _has_token(self, scope: Scope) -> bool:
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        return self._is(asked.get(QUESTION, ""))

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the cookie and redirect to the same page without the token.

        The token must not stay in the address line and in the browser's history.
        """
        rest = [(name, value) for name, value in parse_qsl(scope["query_string"].decode("latin-1")) if name != QUESTION]
        path = "/" + scope["path"].lstrip("/")  # "//elsewhere" would be another site
        answer = RedirectResponse(path + ("?" + urlencode(rest) if rest else ""), status_code=303)
        answer.set_cookie(self._cookie(scope), self.token, httponly=True, samesite="strict")
        await answer(scope, receive, send)

    @staticmethod
    async def _refuse(scope: Scope, receive: Receive, send: Send, reason: str, status: int = 403) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:100]})
            return
        await PlainTextResponse(reason + "\n", status_code=status)(scope, receive, send)
