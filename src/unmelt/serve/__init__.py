"""Serving: many requests, advanced together."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.serve.engine import Engine, EngineLimits, OverloadedError
    from unmelt.serve.job import CancelledError, Job

__all__ = ["CancelledError", "Engine", "EngineLimits", "Job", "OverloadedError"]

publish(__name__)
