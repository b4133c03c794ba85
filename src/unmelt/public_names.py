"""Public names of a module: what `dir` and `help` list, imported when they are first used.

A package writes its imports under `if TYPE_CHECKING:`, lists the names in `__all__` and calls `publish(__name__)`. Type
checkers, editors and import-linter read the imports as usual. At run time each of them is carried out at the first use
of its name, so that a program pays for the parts that it uses: `import unmelt` alone does not import torch. A module
without such imports calls `publish` too: `dir` then lists what is in `__all__`, and not what the module imports.

The imports are read from the package's own source, because a second list of them could differ from the first.
"""

import ast
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn, cast

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
            hint = "" if name.startswith("_") else _hint(self.__name__, name, self.__all__)
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}{hint}", name=name, obj=self)
        vars(self)[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Python binds a module in its package once it is imported. A public name that is also the name of the module
        # that defines it, such as `recipe.digits`, stays what it is.
        if isinstance(value, ModuleType) and _deferred(self.__name__).get(name) == value.__name__:
            value = getattr(value, name)
        elif type(value) is ModuleType:
            value.__class__ = _Inner
        super().__setattr__(name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to be called, and say which of its names may be meant.

        Args:
            args: Anything; a word is taken for a name.
            kwargs: Anything.

        Raises:
            TypeError: Always.
        """
        self._refuse(args[0] if args else "", "called")

    def __getitem__(self, name: Any) -> NoReturn:
        """Refuse to be indexed, and say which of its names may be meant.

        Args:
            name: Anything; a word is taken for a name.

        Raises:
            TypeError: Always.
        """
        self._refuse(name, "indexed")

    def _refuse(self, word: Any, how: str) -> NoReturn:
        path = self.__name__.replace("unmelt", "um", 1)
        meant = word if isinstance(word, str) and word in self.__all__ else ""
        hint = f": {path}.{meant} is meant" if meant else ""
        if isinstance(word, str) and word and not meant:
            hint = _hint(self.__name__, word, self.__all__).replace(";", ":", 1)
        raise TypeError(f"{path} is a module, which cannot be {how}{hint or f'; it has {_some(self.__all__)}'}")

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return import_module, (self.__name__,)

    def __dir__(self) -> list[str]:
        return sorted({*self.__all__, *(name for name in vars(self) if name.startswith("__"))})


class _Inner(ModuleType):
    """A module that defines some of the public names of its package, and is none itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to be called, and say which public name may be meant.

        Args:
            args: Anything.
            kwargs: Anything.

        Raises:
            TypeError: Always.
        """
        package, _, name = self.__name__.rpartition(".")
        path = self.__name__.replace("unmelt", "um", 1)
        hint = _hint(package, name, sys.modules[package].__all__)
        raise TypeError(f"{path} is a module, which cannot be called{hint.replace(';', ':', 1)}")


def _hint(module: str, name: str, public: Sequence[str]) -> str:
    """What may be meant by a name that a module does not have, as the end of a message; empty if nothing is like it."""
    present = present_name(module, name)
    # The table of parts is imported for a mistake only.
    similar: list[str] = import_module("unmelt.arguments.parts").of_module(module, name, public)
    if present:
        other = [each for each in similar if each.removeprefix("um.").partition("(")[0] != present]
        also = f"; or {other[0]} is meant" if other and "(" in other[0] else ""
        return f"; it is now called unmelt.{present}{also}"
    return f"; {' or '.join(similar)} is meant" if similar else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


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
