"""Memoization of coefficients that depend on time alone.

A sampler needs the same few coefficients at the same times for every sample. Each is a pure function of times and of
hashable settings, so its results can be cached. The key of the cache is the identity of each tensor together with its
version, which changes when the tensor is written to. Nothing is cached while autograd records, forwards or backwards.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

CACHE_SIZE = 4096
"""Results kept for each function; each has the size of its times."""


def memoized(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator that caches the results of a pure function.

    Args:
        function: A pure function of tensors and hashable settings. Its callers pass all arguments by position.

    Returns:
        The function with a cache, which is bypassed in grad mode, under forward-mode autograd and in inference mode.
    """

    @lru_cache(maxsize=CACHE_SIZE)
    def cached(versions: tuple[int, ...], *args: Any) -> Any:
        return function(*args)  # type: ignore[call-arg]

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        differentiates = torch.is_grad_enabled() or torch.autograd.forward_ad._current_level >= 0
        if differentiates or torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        return cached(tuple([arg._version for arg in args if isinstance(arg, Tensor)]), *args)

    return wrapper
