"""Public names of a module: what `dir` and `help` list, imported when they are first used.

A package writes its imports under `if TYPE_CHECKING:`, lists the names in `__all__` and calls `publish(__name__)`. Type
checkers, editors and import-linter read the imports as usual. At run time each of them is carried out at the first use
of its name, so that a program pays for the parts that it uses: `import unmelt` alone does not import torch. A module
without such imports calls `publish` too: `dir` then lists what is in `__all__`, and not what the module imports.

The imports are read from the package's own source, because a second list of them could differ from the first.
"""

import ast
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

from unmelt.aliases import present_name


def publish(module: str) -> None:
    """Let a module list its public names only, and import what stands under `if TYPE_CHECKING:` when it is used.

    Args:
        module: The module's own `__name__`. It has an `__all__`.
    """
    sys.modules[module].__class__ = _Published


class _Published(ModuleType):
    """A module whose public names are listed, and imported when they are first used (PEP 562, as a class)."""

    __all__: list[str]

    def __getattr__(self, name: str) -> Any:
        value = None if name.startswith("__") else _load(self.__name__, name)
        if value is None:
            present = present_name(self.__name__, name)
            hint = f"; it is now called unmelt.{present}" if present else ""
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}{hint}", name=name, obj=self)
        vars(self)[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Python binds a module in its package once it is imported. A public name that is also the name of the module
        # that defines it, such as `recipe.digits`, stays what it is.
        if isinstance(value, ModuleType) and _deferred(self.__name__).get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return import_module, (self.__name__,)

    def __dir__(self) -> list[str]:
        return sorted({*self.__all__, *(name for name in vars(self) if name.startswith("__"))})


def _load(module: str, name: str) -> Any:
    """Import what a public name stands for, or else the submodule of this name; None if there is neither."""
    origin = _deferred(module).get(name, module)
    if origin != module:
        return getattr(import_module(origin), name)
    submodule = f"{module}.{name}"
    is_package = hasattr(sys.modules[module], "__path__")
    return import_module(submodule) if is_package and find_spec(submodule) else None


@cache
def _deferred(module: str) -> dict[str, str]:
    """The names that a module imports under `if TYPE_CHECKING:`, each with the module that it is imported from."""
    spec = sys.modules[module].__spec__
    source = cast(Any, spec.loader).get_source(module) if spec else None
    if source is None:
        raise ImportError(f"the source of {module} is needed: it says where its public names are imported from")
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    statements = [
        each
        for block in blocks
        if isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for each in block.body
        if isinstance(each, ast.ImportFrom) and each.module
    ]
    return {alias.asname or alias.name: str(each.module) for each in statements for alias in each.names}
