"""Parts to JSON and back: how a run folder describes what it holds.

One rule makes every part describable: a constructor keeps each of its arguments as an attribute of the same name. A
description is {"part": "schedule.Cosine", argument: value, ...}, nested as parts are. Building a part constructs only
classes that are registered here, so a file from someone else can name nothing else.
"""

import inspect
from types import ModuleType
from typing import Any, TypeVar

from unmelt import backbone, codec, encoder, modality, objective, process, sampler, schedule
from unmelt.adapter import LoRA
from unmelt.denoiser import (
    Autoregressive,
    Blockwise,
    FlowMap,
    GaussianMixtureDenoiser,
    Network,
    ResidualDenoiser,
    TokenNetwork,
    prediction,
)
from unmelt.errors import UsageError, nearest
from unmelt.sampler import grid
from unmelt.train import AdamW, Muon, Training, lr_schedule
from unmelt.train.distributed import unsharded_class

Part = TypeVar("Part", bound=type)

_PARTS: dict[str, type] = {}
_NAMES: dict[type, str] = {}


def _list(name: str, module: ModuleType) -> None:
    """Register every concrete part of a module, under the module's short name."""
    for cls in vars(module).values():
        if not inspect.isclass(cls) or not cls.__module__.startswith(module.__name__) or cls in _NAMES:
            continue
        if cls is sampler.State or issubclass(cls, tuple):  # what parts work on and answer with
            continue
        if not inspect.isabstract(cls) and not getattr(cls, "_is_protocol", False):
            _PARTS[f"{name}.{cls.__name__}"], _NAMES[cls] = cls, f"{name}.{cls.__name__}"


_MODULES = (
    schedule,
    process,
    prediction,
    backbone,
    codec,
    encoder,
    modality,
    objective,
    grid,
    sampler,
    sampler.tokens,
    lr_schedule,
)
for _module in _MODULES:
    _list(_module.__name__.rpartition(".")[2], _module)
for _class in (
    Network,
    FlowMap,
    ResidualDenoiser,
    GaussianMixtureDenoiser,
    TokenNetwork,
    Autoregressive,
    Blockwise,
    Training,
    AdamW,
    Muon,
    LoRA,
):
    _name = f"{_class.__module__.split('.')[1]}.{_class.__name__}"
    _PARTS[_name], _NAMES[_class] = _class, _name


def register(part: Part) -> Part:
    """Class decorator: let run folders hold a part of your own. Import its module before you load such a folder.

    Args:
        part: The class.

    Returns:
        The same class.
    """
    name = f"{part.__module__}.{part.__qualname__}"
    _PARTS[name], _NAMES[part] = part, name
    return part


def part(name: str) -> type:
    """The class that descriptions call by this name.

    Args:
        name: A registered name, such as "schedule.Cosine".

    Returns:
        The class.
    """
    return _PARTS[name]


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
    name = _NAMES.get(cls)
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


def complete(description: Any) -> Any:
    """A description with the defaults of arguments that its parts had not yet when it was written.

    Args:
        description: A description, of this version or an earlier one.

    Returns:
        The description that `describe` gives today of what it builds.
    """
    if isinstance(description, list):
        return [complete(value) for value in description]
    if not isinstance(description, dict) or description.get("part") not in _PARTS:
        return description
    parameters = inspect.signature(_PARTS[description["part"]]).parameters.values()
    defaults = {p.name: describe(p.default) for p in parameters if p.default is not p.empty}
    return defaults | {name: complete(value) for name, value in description.items()}


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
    if name not in _PARTS:
        raise UsageError(f"a part called {name!r}", "one that is known here", repr(nearest(name, _PARTS)))
    cls = _PARTS[name]
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
