"""Errors as clients of OpenAI's API expect them: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from unmelt.errors import UsageError, is_out_of_memory
from unmelt.serve.engine import OverloadedError
from unmelt.serve.job import CancelledError

KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
"""Types of errors by status; of others, invalid_request_error below 500 and server_error from there on."""

RETRY_AFTER = 1
"""Seconds after which a client may try again if there was no room."""


class APIError(Exception):
    """A refusal.

    Args:
        status: HTTP status.
        message: What is wrong.
        param: Name of the argument that is.
        code: Short name of what is wrong.
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


def as_api_error(error: BaseException) -> APIError:
    """What a client is told of an error.

    Args:
        error: Any error.

    Returns:
        The error in OpenAI's form; of one that is not the client's doing, nothing but that it happened.
    """
    if isinstance(error, APIError):
        return error
    if isinstance(error, UsageError):
        return APIError(400, str(error), code="invalid_value")
    if isinstance(error, OverloadedError):
        return APIError(429, f"{error}; try again later", code="overloaded")
    if isinstance(error, TimeoutError):
        return APIError(504, "the request took too long", code="timeout")
    if isinstance(error, CancelledError):
        return APIError(499, "the client went away", code="cancelled")
    if is_out_of_memory(error):
        return APIError(503, "there is not enough memory for this request; try fewer or smaller samples", code="memory")
    return APIError(500, "the server failed", code="internal_error")


def content_of(error: APIError) -> dict[str, Any]:
    """The body that tells of an error.

    Args:
        error: The error.

    Returns:
        What is sent as JSON.
    """
    kind = KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def answer_to(error: APIError) -> JSONResponse:
    """The response that tells of an error.

    Args:
        error: The error.

    Returns:
        The response; of status 429 with a `Retry-After`.
    """
    headers = {"Retry-After": str(RETRY_AFTER)} if error.status == 429 else None
    return JSONResponse(content_of(error), error.status, headers)


def install(app: FastAPI) -> None:
    """Let an application answer every error in OpenAI's form.

    Args:
        app: The application.
    """

    async def of_any(request: Request, error: Exception) -> JSONResponse:
        return answer_to(as_api_error(error))

    async def of_body(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return answer_to(APIError(400, f"{where or 'the body'}: {first['msg']}", where or None, "invalid_value"))

    async def of_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return answer_to(APIError(error.status_code, str(error.detail)))

    for kind in (APIError, UsageError, OverloadedError, TimeoutError, CancelledError, Exception):
        app.add_exception_handler(kind, of_any)
    app.add_exception_handler(RequestValidationError, of_body)
    app.add_exception_handler(HTTPException, of_http)
