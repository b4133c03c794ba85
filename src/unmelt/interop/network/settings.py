"""Networks of diffusers' own classes, made of the settings in their config.json."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from unmelt.errors import UsageError, nearest
from unmelt.interop.diffusers_package import diffusers

Settings = Mapping[str, Any] | Sequence[tuple[str, Any]]
"""Arguments of a class of diffusers, by name."""


def make_network(kind: str, settings: Settings) -> tuple[Any, tuple[tuple[str, Any], ...]]:
    """Make a network.

    Args:
        kind: Its class in diffusers.
        settings: Arguments of the class.

    Returns:
        (the network, the settings as pairs that a run folder can hold).

    Raises:
        UsageError: If this version of diffusers has no such class, or it does not take the settings.
    """
    package, given = diffusers(), dict(settings)
    made = getattr(package, kind, None)
    if made is None:
        raise UsageError(
            f"a network of class {kind}, which diffusers {package.__version__} does not have",
            "a version that has it",
            "pip install --upgrade diffusers",
        )
    parameters = inspect.signature(made).parameters
    for name in given:
        if name not in parameters:
            raise UsageError(
                f"{kind} has no setting {name!r} in diffusers {package.__version__}",
                f"one of {', '.join(parameters)}",
                repr(nearest(name, parameters)),
            )
    try:
        network = made(**given)
    except Exception as error:  # a wrong value can make its constructor raise anything at all
        raise UsageError(
            f"settings that {kind} cannot take ({error!r})",
            f"those of diffusers' {kind}",
            "the file as it was saved",
        ) from None
    return network, tuple((name, _frozen(value)) for name, value in given.items())


def settings_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a class in its config.json.

    Args:
        about: The file's content.

    Returns:
        All entries but those of diffusers itself, whose names begin with an underscore.
    """
    return {name: value for name, value in about.items() if not name.startswith("_")}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
