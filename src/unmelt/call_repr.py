"""One-line `repr` of networks: the call that would make them, and their number of parameters.

PyTorch's own `repr` of a network lists all layers, which fills a notebook. It is still there as
`torch.nn.Module.__repr__(network)`.
"""

import inspect
from typing import Any

from torch import nn

LONGEST = 120
"""Characters of a line."""

LONGEST_VALUE = 40
"""Characters of an argument; longer ones are shortened to the name of their class."""


class CallRepr:
    """Mixin for an `nn.Module` that keeps every argument of its constructor as an attribute of the same name.

    Arguments that have their default value are left out. If the line would be longer than 120 characters, the last
    arguments are replaced by an ellipsis; so is an argument that is not kept.
    """

    def __repr__(self) -> str:
        assert isinstance(self, nn.Module)
        made_by = next(cls for cls in type(self).__mro__ if "__init__" in vars(cls))  # sharding derives a class
        parameters = list(inspect.signature(made_by).parameters.values())
        kept = [p for p in parameters if hasattr(self, p.name)]
        shown = [f"{p.name}={_short(value)}" for p in kept if not _is_default(value := getattr(self, p.name), p)]
        left_out = len(kept) < len(parameters)
        size = f"{sum(p.numel() for p in self.parameters()):,} parameters"
        while True:
            inside = ", ".join([*shown, "..."] if left_out else shown)
            line = f"{made_by.__name__}({inside}; {size})" if inside else f"{made_by.__name__}({size})"
            if len(line) <= LONGEST or not shown:
                return line
            shown, left_out = shown[:-1], True


def _is_default(value: Any, parameter: inspect.Parameter) -> bool:
    return type(value) is type(parameter.default) and value == parameter.default


def _short(value: Any) -> str:
    text = repr(value)
    is_plain = value is None or isinstance(value, bool | int | float | str | tuple | list)
    if not isinstance(value, nn.Module) and len(text) <= LONGEST_VALUE and " object at 0x" not in text:
        return text
    return "..." if is_plain else f"{type(value).__name__}(...)"
