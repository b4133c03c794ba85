"""Memory that was freed, handed back to the system.

The C library keeps what a program frees, to use it again. Before version 2.38 glibc seldom does so for aligned blocks,
which tensors are: a training process that computes with and without gradients in turn grew by 3 MB a step, to 6 GB,
while its tensors took 130 MB.
"""

import ctypes
import time
from functools import cache
from typing import Any, final

EVERY = 10.0
"""Seconds between two releases."""


@cache
def _malloc_trim() -> Any:
    """The function of glibc; None in other C libraries."""
    try:
        return ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        return None


@final
class FreeMemory:
    """Hands freed memory back now and then; each time takes milliseconds."""

    def __init__(self) -> None:
        self.released = time.monotonic()

    def release(self) -> None:
        """Hand freed memory back, if the last time is `EVERY` seconds ago and the C library can."""
        trim = _malloc_trim()
        if trim is not None and time.monotonic() - self.released >= EVERY:
            trim(0)
            self.released = time.monotonic()
