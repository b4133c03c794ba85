"""The page at `/`: a sentence or a class becomes a picture, gaps in a text are filled. It is a client of the API.

The page needs no key: it holds nothing, and asks for a key where the API wants one.
"""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

FILES = {"/": "index.html", "/page.js": "page.js"}
"""Files by their addresses."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
"""The page runs its own script, asks this server alone, and is shown inside no other page."""


def router() -> APIRouter:
    """The routes of the page.

    Returns:
        The routes.
    """
    routes = APIRouter(include_in_schema=False)

    def add(address: str, name: str) -> None:
        @routes.get(address)
        async def page() -> FileResponse:
            return FileResponse(Path(__file__).with_name(name), headers=HEADERS)

    for address, name in FILES.items():
        add(address, name)
    return routes
