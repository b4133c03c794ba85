"""A call is checked for shapes and types unless the same test made one with arguments of the same types and shapes.

Checking every call doubles the time of the tests. jaxtyping's import hook decorates each function with
`jaxtyping.jaxtyped`, whose place is taken by a decorator that calls the plain function where nothing new would be
checked.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jaxtyping
from jaxtyping import config
from torch import Tensor

_check_every_call = jaxtyping.jaxtyped
_seen: set[tuple[Any, ...]] = set()


def begin_test() -> None:
    """Every function is checked again."""
    _seen.clear()


def install() -> None:
    """Take the place of `jaxtyping.jaxtyped`, for what is imported from here on."""
    jaxtyping.jaxtyped = _check_new_calls


def _check_new_calls(function: Any = None, *, typechecker: Any) -> Any:
    if function is None:
        return functools.partial(_check_new_calls, typechecker=typechecker)
    if not inspect.isfunction(function):
        init = getattr(function, "__init__", None)  # of a data class, which jaxtyping checks unless it is checked
        is_checked = getattr(init, "__globals__", {}).get("__name__") == __name__
        return function if is_checked else _check_every_call(function, typechecker=typechecker)

    @functools.cache  # made at the first call, since most functions are never called in one process
    def checked() -> Callable[..., Any]:
        return _check_every_call(function, typechecker=typechecker)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if config.jaxtyping_disable:
            return function(*args, **kwargs)
        key = (function, *map(_kind, args), *map(_kind, kwargs.values()), *kwargs)
        if key in _seen:
            return function(*args, **kwargs)
        result = checked()(*args, **kwargs)
        _seen.add(key)
        return result

    return call


def _kind(value: Any) -> Any:
    return (value.dtype, value.shape) if isinstance(value, Tensor) else type(value)
