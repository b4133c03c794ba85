"""Serving: many requests, advanced together."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.serve.engine import Engine, EngineLimits, OverloadedError
    from unmelt.serve.job import CancelledError, Job
    from unmelt.serve.settings import ServerSettings

__all__ = ["CancelledError", "Engine", "EngineLimits", "Job", "OverloadedError", "ServerSettings"]

publish(__name__)
