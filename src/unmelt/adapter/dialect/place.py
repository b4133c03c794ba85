"""Which layers of a network a name in a file means, and what makes a dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, final

Layers: TypeAlias = Mapping[str, tuple[int, ...]]
"""The layers of a network that can be adapted: the shapes of their weights by name."""

DENOISER, ANY = "denoiser", "any"


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """The layers that one name in a file means.

    Args:
        layers: One layer; or several, whose outputs are those of one fused layer, in this order.
        swapped: Whether the file has the second half of the outputs first.
        rivals: Layers between which the name does not decide. `layers` is then empty.
    """

    layers: tuple[str, ...] = ()
    swapped: bool = False
    rivals: tuple[str, ...] = ()


Places: TypeAlias = Mapping[str, Place]


@final
@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one tool names the layers that an adapter changes.

    Args:
        name: The tool or library.
        recognises: Whether a file with these keys is written in it.
        prefixes: What names begin with, and the part of the model that is then meant: "denoiser", "te1" and so on for
            text encoders, "any" for whichever the file is read for. "" stands for names without a prefix.
        places: The names, without a prefix, of a network's layers.
    """

    name: str
    recognises: Callable[[Iterable[str]], bool]
    prefixes: tuple[tuple[str, str], ...]
    places: Callable[[Layers], Places]


def own(layers: Layers) -> dict[str, Place]:
    """The layers by their own names.

    Args:
        layers: The network's layers.

    Returns:
        A place for each layer.
    """
    return {name: Place(layers=(name,)) for name in layers}


def stacked_places(layers: Layers, theirs: str, ours: str, table: Mapping[str, tuple[str, ...]]) -> dict[str, Place]:
    """The layers of a stack of equal blocks by other names.

    Args:
        layers: The network's layers.
        theirs: What the stack is called in files.
        ours: What it is called in the network.
        table: Names in a block of the file, each with the names in the network of what is one layer there.

    Returns:
        Places of those that the network has whole; "qkv.0" and so on for the parts of a fused layer "qkv".
    """
    found = {}
    for number in {name.split(".")[1] for name in layers if name.startswith(f"{ours}.")}:
        for name, parts in table.items():
            names = tuple(f"{ours}.{number}.{part}" for part in parts)
            if not all(each in layers for each in names):
                continue
            found[f"{theirs}.{number}.{name}"] = Place(layers=names)
            if len(names) > 1:
                found |= {f"{theirs}.{number}.{name}.{k}": Place(layers=(each,)) for k, each in enumerate(names)}
    return found


def underscored(places: Places) -> dict[str, Place]:
    """Names in which underscores stand for dots. Two names that become one are a place with rivals.

    Args:
        places: Places by their names with dots.

    Returns:
        Places by their names without dots.
    """
    found: dict[str, Place] = {}
    for name, place in places.items():
        short = name.replace(".", "_")
        before = found.get(short, place)
        if before != place:
            both = (before.rivals or before.layers[:1]) + (place.rivals or place.layers[:1])
            place = Place(rivals=tuple(dict.fromkeys(both)))
        found[short] = place
    return found


def moved(places: Places, prefix: str) -> dict[str, Place]:
    """The same places in a network that is a module of another one.

    Args:
        places: Places in the module.
        prefix: The module's name in the other network, with a dot at its end; "" for itself.

    Returns:
        The places, with the layers' names in the other network.
    """
    return {
        name: replace(
            place,
            layers=tuple(prefix + each for each in place.layers),
            rivals=tuple(prefix + each for each in place.rivals),
        )
        for name, place in places.items()
    }


def begin(keys: Iterable[str], *prefixes: str) -> bool:
    """Whether some key begins with one of the prefixes.

    Args:
        keys: Keys of a file.
        prefixes: The prefixes.

    Returns:
        True if one does.
    """
    return any(key.startswith(prefixes) for key in keys)
