"""Memoization of coefficients that depend on time alone.

A sampler needs the same few coefficients at the same times for every sample. Each is a pure function of times and of
hashable settings, so its results can be cached, twice over:

    whole     by the identity of each tensor of times, together with its version, which changes when it is written to
    by row    by the values of the times of each row, where few rows on the CPU stand at times of their own (a server's
              batch, whose times are always new tensors); the result at a row depends on the times of that row alone

Nothing is cached while autograd records, forwards or backwards.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

WHOLE_SIZE = 1024
"""Results kept for each function by the identity of its times; each has their size."""

CACHE_SIZE = 4096
"""Results of single rows that are kept for each function."""

FEW_ROWS = 64
"""Rows that are looked up one by one."""


def memoized(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator that caches the results of a pure function.

    Args:
        function: A pure function of tensors and hashable settings. Its callers pass all arguments by position. Where
            it takes tensors, it returns one or a tuple of them, of as many rows; each row depends on its own times.

    Returns:
        The function with a cache, which is bypassed in grad mode, under forward-mode autograd and in inference mode.
    """
    of_rows = _RowCache(function)

    @lru_cache(maxsize=WHOLE_SIZE)
    def cached(versions: tuple[int, ...], *args: Any) -> Any:
        return function(*args)  # type: ignore[call-arg]

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        differentiates = torch.is_grad_enabled() or torch.autograd.forward_ad._current_level >= 0
        if differentiates or torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        if _rows([arg for arg in args if isinstance(arg, Tensor)]):
            return of_rows(*args)
        return cached(tuple([arg._version for arg in args if isinstance(arg, Tensor)]), *args)

    return wrapper


class _RowCache:
    """Results of a function by the values of its arguments at a row, as tuples of tensors of one row."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.found: dict[Hashable, tuple[Tensor, ...]] = {}
        self.kind: Callable[[list[Tensor]], Any] = list

    def __call__(self, *args: Any) -> Any:
        times = [arg for arg in args if isinstance(arg, Tensor)]
        rows = len(times[0])
        settings = tuple([arg.dtype if isinstance(arg, Tensor) else arg for arg in args])
        keys = [(settings, *row) for row in zip(*[each.tolist() for each in times], strict=True)]
        new = list({key: row for row, key in enumerate(keys) if key not in self.found}.values())
        if len(new) == rows:
            return self._computed(args, keys)
        if new:
            index = torch.tensor(new)
            self._computed([arg[index] if isinstance(arg, Tensor) else arg for arg in args], [keys[row] for row in new])
        try:
            each = [self.found[key] for key in keys]
        except KeyError:  # forgotten since, by another thread
            return self.function(*args)
        return self.kind([torch.cat(column) for column in zip(*each, strict=True)])

    def _computed(self, args: Any, keys: list[Any]) -> Any:
        """The function itself, its rows remembered."""
        made = self.function(*args)
        if len(self.found) + len(keys) > CACHE_SIZE:
            self.found.clear()
        self.kind = _kind(made)
        parts = [made] if isinstance(made, Tensor) else list(made)
        for row, key in enumerate(keys):
            self.found[key] = tuple([part[row : row + 1].clone() for part in parts])
        return made


def _rows(times: list[Tensor]) -> int:
    """How many rows of times there are; 0 where they are not looked up one by one, as all are at the same times."""
    if not times or any(each.ndim != 1 or each.device.type != "cpu" for each in times):
        return 0
    if all(each.stride(0) == 0 for each in times):
        return 0
    rows = len(times[0])
    return rows if rows <= FEW_ROWS and all(len(each) == rows for each in times) else 0


def _kind(made: Any) -> Callable[[list[Tensor]], Any]:
    """What makes a result like this one of its parts."""
    if isinstance(made, Tensor):
        return lambda parts: parts[0]
    return type(made)._make if hasattr(type(made), "_make") else type(made)
