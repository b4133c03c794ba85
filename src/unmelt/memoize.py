"""Numbers of time, remembered.

A sampler asks for the same few coefficients at the same times in every sample it makes. Each is a pure function of
tensors that are times and of plain settings, so its answers can be kept: found again by the identity of the tensors,
and by their version, which changes when one is written to. What autograd may need to follow is always worked out anew.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

ANSWERS = 4096
"""How many are kept of each function; each is of the size of its times."""


def memoized(work_out: Callable[P, R]) -> Callable[P, R]:
    """Decorator for a pure function of tensors and hashable settings, given by position."""

    @lru_cache(maxsize=ANSWERS)
    def known(versions: tuple[int, ...], *args: Any) -> Any:
        return work_out(*args)  # type: ignore[call-arg]

    @wraps(work_out)
    def ask(*args: P.args, **none: P.kwargs) -> R:
        if torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return work_out(*args, **none)
        return known(tuple([arg._version for arg in args if isinstance(arg, Tensor)]), *args)

    return ask
