"""The HTTP application: OpenAI's routes, health and metrics, behind a key and a limit on bodies."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from unmelt.model import SpeechModel, TextModel
from unmelt.serve import api_error, completions, images, page, speech
from unmelt.serve.api_error import APIError
from unmelt.serve.body_limit import BodyLimit
from unmelt.serve.loopback import is_loopback
from unmelt.serve.service import Servable, Service
from unmelt.serve.settings import ServerSettings


def application(
    models: Mapping[str, Servable], settings: ServerSettings = ServerSettings(), local_only: bool = True
) -> ASGIApp:
    """Make the application that serves models.

    Args:
        models: Models by the names that clients use.
        settings: What clients may ask for.
        local_only: Whether it answers only to names of this machine, so that no web page can reach it under another
            (DNS rebinding).

    Returns:
        An ASGI application. Its engine runs from startup to shutdown.
    """
    service = Service(models, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(title="unmelt", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    api_error.install(app)

    @app.get("/v1/models")
    async def all_models() -> Any:
        return {"object": "list", "data": [_described(service, name) for name in service.models]}

    @app.get("/v1/models/{name}")
    async def one_model(name: str) -> Any:
        if name not in service.models:
            raise APIError(404, f"there is no model {name!r}", "model", "model_not_found")
        return _described(service, name)

    @app.get("/health")
    async def health() -> Any:
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        return _metrics(service)

    app.include_router(page.router())
    app.include_router(images.router(service))
    app.include_router(completions.router(service))
    app.include_router(speech.router(service))

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        refused = _refused(Request(scope), settings.api_key, local_only) if scope["type"] == "http" else None
        await (app if refused is None else api_error.answer_to(refused))(scope, receive, send)

    return BodyLimit(guarded, settings.body, lambda why: api_error.answer_to(APIError(413, why, code="too_large")))


def _refused(request: Request, key: str, local_only: bool) -> APIError | None:
    """Why a request is not answered; None if it is."""
    host = request.headers.get("host", "")
    if local_only and not is_loopback(urlsplit(f"//{host}").hostname or ""):
        return APIError(403, f"this server answers to this machine's own names, not to {host!r}", code="forbidden")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return APIError(403, "a page of another site asked", code="forbidden")
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    is_open = request.url.path == "/health" or request.url.path in page.FILES
    if key and not is_open and not secrets.compare_digest(given.encode(), key.encode()):
        return APIError(401, "the API key is missing or wrong", code="invalid_api_key")
    return None


def _described(service: Service, name: str) -> dict[str, Any]:
    """What OpenAI's API says of a model, and what the model makes and of what."""
    model = service.models[name]
    return {
        "id": name,
        "object": "model",
        "created": service.started,
        "owned_by": "unmelt",
        "modality": model.modality.name,
        "classes": list(model.classes),
        "takes_prompts": model.encoder is not None,
        "plans": model.planner is not None,
        "controls": list(model.control_names),
        "speaks": isinstance(model, SpeechModel),
        "takes_suffixes": isinstance(model, TextModel) and (not model.canvas.is_causal or model.canvas.fills_middle),
    }


def _metrics(service: Service) -> str:
    """Figures in the text format of Prometheus."""
    engine = service.engine
    figures = (
        ("rows_in_flight", "gauge", "Rows whose states are in memory.", engine.rows_in_flight),
        ("rows_waiting", "gauge", "Rows that wait for room.", engine.rows_waiting),
        ("steps_total", "counter", "Network batches that were advanced by a step.", engine.steps_done),
        ("row_steps_total", "counter", "Steps of single rows.", engine.row_steps_done),
        ("jobs_total", "counter", "Jobs that were taken on.", engine.jobs_taken),
    )
    lines = []
    for name, kind, words, value in figures:
        lines += [f"# HELP unmelt_{name} {words}", f"# TYPE unmelt_{name} {kind}", f"unmelt_{name} {value}"]
    return "\n".join(lines) + "\n"
