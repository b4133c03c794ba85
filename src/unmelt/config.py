"""Parts to JSON and back: how a run folder describes what it holds.

One rule makes every part describable: a constructor keeps each of its arguments as an attribute of the same name. A
description is {"part": "schedule.Cosine", argument: value, ...}, nested as parts are. Building a part constructs only
classes that are registered here, so a file from someone else can name nothing else.
"""

import inspect
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from unmelt import (
    adapter,
    backbone,
    codec,
    control,
    denoiser,
    distill,
    drafting,
    encoder,
    modality,
    objective,
    planner,
    process,
    sampler,
    schedule,
    train,
)
from unmelt.denoiser import prediction
from unmelt.errors import UsageError, nearest
from unmelt.public_names import publish
from unmelt.sampler import grid
from unmelt.train import lr_schedule
from unmelt.train.distributed import unsharded_class

__all__ = ["build", "describe", "fill_defaults", "part", "part_names", "register"]

_Part = TypeVar("_Part", bound=type)

_REGISTERED: dict[str, type] = {}
_NAMES: dict[type, str] = {}

_INTEROP = import_module("unmelt.interop")  # whose parts import models, when they are used

_DENOISERS = (
    "NetworkDenoiser",
    "BoundedDenoiser",
    "Clip",
    "DynamicThreshold",
    "FlowMap",
    "ResidualDenoiser",
    "ResidualFlowMap",
    "GaussianMixtureDenoiser",
    "TokenDenoiser",
    "JointTokenDenoiser",
    "Autoregressive",
    "Blockwise",
)
_PUBLIC: dict[str, tuple[ModuleType, Sequence[str]]] = {
    **{
        module.__name__.rpartition(".")[2]: (module, module.__all__)
        for module in (
            schedule,
            process,
            prediction,
            backbone,
            codec,
            control,
            encoder,
            planner,
            modality,
            objective,
            grid,
        )
    },
    **{
        module.__name__.rpartition(".")[2]: (module, module.__all__)
        for module in (sampler, sampler.tokens, lr_schedule)
    },
    "interop": (_INTEROP, _INTEROP.__all__),
    "denoiser": (denoiser, _DENOISERS),
    "train": (train, ("Training", "AdamW", "Muon")),
    "adapter": (adapter, ("LoRA",)),
    "drafting": (drafting, ("DraftNetwork", "PretrainedVerifier")),
    "distill": (distill, tuple(name for name in distill.__all__ if name != "Setup")),
}
"""Modules by their short names, and those of their public names that may be parts. A part is imported when needed."""


def _is_part(found: Any) -> bool:
    """Whether it is a concrete class, and not one of those that parts work on or answer with."""
    if not inspect.isclass(found) or found is sampler.State or issubclass(found, tuple):
        return False
    return not inspect.isabstract(found) and not getattr(found, "_is_protocol", False)


def _name_of(cls: type) -> str | None:
    """The name of a class in descriptions; None if it is no part."""
    if cls not in _NAMES:
        for short, (module, names) in _PUBLIC.items():
            is_public = cls.__module__.startswith(module.__name__) and cls.__name__ in names
            if is_public and getattr(module, cls.__name__) is cls and _is_part(cls):
                _NAMES[cls] = f"{short}.{cls.__name__}"
                break
    return _NAMES.get(cls)


def _find(name: str) -> type | None:
    """The class of this name in descriptions; None if there is none."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    short, _, attribute = name.rpartition(".")
    if short not in _PUBLIC or attribute not in _PUBLIC[short][1]:
        return None
    found = getattr(_PUBLIC[short][0], attribute)
    return found if _is_part(found) and _name_of(found) == name else None


def part_names() -> list[str]:
    """Names of every part that a run folder can hold now. All of their modules are imported.

    Returns:
        The names: those of unmelt, and those that were registered.
    """
    public = [f"{short}.{name}" for short, (_, names) in _PUBLIC.items() for name in names]
    return [name for name in dict.fromkeys([*public, *_REGISTERED]) if _find(name)]


def register(part: _Part) -> _Part:
    """Class decorator: let run folders hold a part of your own. Import its module before you load such a folder.

    Args:
        part: The class.

    Returns:
        The same class.
    """
    name = f"{part.__module__}.{part.__qualname__}"
    _REGISTERED[name], _NAMES[part] = part, name
    return part


def part(name: str) -> type:
    """The class that descriptions call by this name.

    Args:
        name: A registered name, such as "schedule.Cosine".

    Returns:
        The class.

    Raises:
        KeyError: If there is no such part.
    """
    found = _find(name)
    if found is None:
        raise KeyError(name)
    return found


def _arguments(cls: type) -> list[str]:
    return list(inspect.signature(cls).parameters)


def describe(part: Any) -> Any:
    """Describe a part as JSON can hold it.

    Args:
        part: A part, a plain value, or a list of them.

    Returns:
        {"part": name, argument: description, ...} for a part; a plain value as it is.

    Raises:
        UsageError: If the class is not registered or does not keep an argument as an attribute.
    """
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, list | tuple):
        return [describe(value) for value in part]
    cls = unsharded_class(part)
    name = _name_of(cls)
    if name is None:
        raise UsageError(
            f"a {cls.__name__}, which is not one of unmelt's parts",
            "a class that a run folder can name",
            "@um.config.register on the class",
        )
    lost = [argument for argument in _arguments(cls) if not hasattr(part, argument)]
    if lost:
        raise UsageError(
            f"a {cls.__name__} without the attribute {lost[0]!r}",
            "every argument of its constructor, kept under the same name",
            f"self.{lost[0]} = {lost[0]}",
        )
    return {"part": name} | {argument: describe(getattr(part, argument)) for argument in _arguments(cls)}


def fill_defaults(description: Any) -> Any:
    """A description with the defaults of arguments that its parts had not yet when it was written.

    Args:
        description: A description, of this version or an earlier one.

    Returns:
        The description that `describe` gives today of what it builds.
    """
    if isinstance(description, list):
        return [fill_defaults(value) for value in description]
    cls = _find(str(description.get("part"))) if isinstance(description, dict) else None
    if cls is None:
        return description
    parameters = inspect.signature(cls).parameters.values()
    defaults = {p.name: describe(p.default) for p in parameters if p.default is not p.empty}
    return defaults | {name: fill_defaults(value) for name, value in description.items()}


def build(description: Any) -> Any:
    """Build a part from what `describe` returned.

    Args:
        description: A description; lists become tuples, plain values stay as they are.

    Returns:
        The part.

    Raises:
        UsageError: If the part is not registered, or the arguments are not those of its constructor.
    """
    if isinstance(description, list):
        return tuple(build(value) for value in description)
    if not isinstance(description, dict):
        return description
    name = str(description.get("part"))
    cls = _find(name)
    if cls is None:
        raise UsageError(f"a part called {name!r}", "one that is known here", repr(nearest(name, part_names())))
    given = {argument: build(value) for argument, value in description.items() if argument != "part"}
    needed = {p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty}
    if not needed <= set(given) <= set(_arguments(cls)):  # an argument added since has its default
        raise UsageError(
            f"{name} described with {sorted(given)}", f"exactly {sorted(_arguments(cls))}", "the file as it was saved"
        )
    try:
        return cls(**given)
    except UsageError:
        raise
    except Exception as error:  # a value of a wrong type can make a constructor raise anything at all
        raise UsageError(
            f"{name} described with values it cannot take ({error})",
            "values of the right types",
            "the file as it was saved",
        ) from None


publish(__name__)
