"""The layers of a network as files name them, where the network of another library may be inside a backbone of ours.

A file that was made for a network of diffusers has that network's own names. A backbone that wraps it has a prefix
before them, such as "network.", which no file has.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from unmelt.adapter.dialect.place import DENOISER, Layers
from unmelt.adapter.dialect.resolve import Resolved, resolve
from unmelt.adapter.dialect.settings import FileSettings
from unmelt.adapter.lora import adaptable
from unmelt.errors import UsageError

_LIBRARY, _BASE = "diffusers", "ModelMixin"


def inner_prefix(network: nn.Module) -> str:
    """Where the network of diffusers is inside another module.

    Args:
        network: A network, or a module that wraps one of diffusers.

    Returns:
        The name of the network inside, with a dot at its end; "" if it is the network itself, or there is none.
    """
    for name, module in network.named_modules():
        for base in type(module).__mro__:
            if base.__name__ == _BASE and base.__module__.partition(".")[0] == _LIBRARY:
                return f"{name}." if name else ""
    return ""


def layers_of(network: nn.Module) -> Layers:
    """The layers of a network that can be adapted.

    Args:
        network: The network.

    Returns:
        Shapes of their weights by name.
    """
    return {name: tuple(layer.weight.shape) for name, layer in adaptable(network).items()}


def resolve_in(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    part: str = DENOISER,
    settings: FileSettings | None = None,
    what: str = "the file",
) -> Resolved:
    """Find the layers of a network that the tensors of a file change.

    Args:
        network: The network, or a backbone that wraps one of diffusers.
        tensors: The tensors by their keys.
        part: The part of a model that the network is: "denoiser", or "te1" and so on for text encoders.
        settings: Alphas, where the file keeps them beside its tensors.
        what: What to call the file in messages.

    Returns:
        The changes by the layers' names in `network`, and the keys of other parts.

    Raises:
        UsageError: As `resolve`.
    """
    layers, prefix = layers_of(network), inner_prefix(network)
    inside = {name.removeprefix(prefix): shape for name, shape in layers.items() if name.startswith(prefix)}
    try:
        found = resolve(tensors, inside, part=part, settings=settings, what=what)
    except UsageError:
        if not prefix:
            raise
        try:  # a file of the whole backbone
            return resolve(tensors, layers, part=part, settings=settings, what=what)
        except UsageError:
            pass
        raise
    changes = {prefix + name: change for name, change in found.changes.items()}
    return Resolved(dialect=found.dialect, changes=changes, elsewhere=found.elsewhere)
