"""From the tensors of a file to the changes of a network's layers; every key finds its place, or all is refused.

A fused layer of the file, such as one matrix for queries, keys and values, is cut along its outputs:

    [B_q; B_k; B_v] A  ->  B_q A,  B_k A,  B_v A            with the same A and alpha, and magnitudes cut likewise
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.adapter.dialect.keys import Kind, other_method, split
from unmelt.adapter.dialect.known import detect
from unmelt.adapter.dialect.layer_change import LayerChange
from unmelt.adapter.dialect.place import ANY, DENOISER, Dialect, Layers, Place, Places
from unmelt.adapter.dialect.settings import FileSettings
from unmelt.adapter.low_rank import Axis
from unmelt.errors import UsageError

SHOWN = 3
"""How many of the keys at fault a message names."""


@final
@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a file changes.

    Args:
        dialect: The dialect of the file.
        changes: The changes by the layer's name, in the order of the file.
        elsewhere: Keys that belong to other parts of a model, by the part: "te1", "te2" and so on are text encoders.
    """

    dialect: Dialect
    changes: Mapping[str, LayerChange]
    elsewhere: Mapping[str, Sequence[str]]


def resolve(
    tensors: Mapping[str, Tensor],
    layers: Layers,
    *,
    part: str = DENOISER,
    dialect: Dialect | None = None,
    settings: FileSettings | None = None,
    what: str = "the file",
) -> Resolved:
    """Find the layers that the tensors of a file change.

    Args:
        tensors: The tensors by their keys.
        layers: Shapes of the weights of the network's layers, by name.
        part: The part of a model that the network is: "denoiser", or "te1" and so on for text encoders.
        dialect: The dialect. None: that of the keys.
        settings: Alphas, where the file keeps them beside its tensors.
        what: What to call the file in messages.

    Returns:
        The changes, and the keys of other parts.

    Raises:
        UsageError: If the dialect is unknown, the method another one than LoRA or DoRA, a key finds no place in the
            network or not one alone, or a tensor is missing, of a wrong shape or not finite. Names the first keys.
    """
    refuse_other_methods(tensors, what)
    dialect = detect(tensors, what) if dialect is None else dialect
    places = dialect.places(layers)
    groups, elsewhere, lost = _grouped(tensors, places, dialect, part)
    if lost:
        raise UsageError(
            f"{what} with {_some(lost)} that {'has' if len(lost) == 1 else 'have'} no place in this network (read as"
            f" {dialect.name})",
            f"an adapter of layers that the network has, such as {', '.join(map(repr, list(layers)[:SHOWN]))}",
            "the network that it was made for",
        )
    changes: dict[str, LayerChange] = {}
    for stem, (place, kinds) in groups.items():
        if place.rivals:
            raise UsageError(
                f"{what} with {stem!r}, which may be {' or '.join(place.rivals)}", "names that are one layer's alone"
            )
        for name, change in _changes(stem, place, kinds, layers, settings, what):
            if name in changes:
                raise UsageError(f"{what} with a second change of {name} ({stem!r})", "one change for each layer")
            changes[name] = change
    return Resolved(dialect=dialect, changes=changes, elsewhere=elsewhere)


def refuse_other_methods(tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse what is neither LoRA nor DoRA.

    Args:
        tensors: The tensors by their keys.
        what: What to call the file in messages.

    Raises:
        UsageError: If there are none, or a key belongs to another method; names it.
    """
    if not tensors:
        raise UsageError(f"{what}, which holds no tensors", "an adapter")
    others: dict[str, list[str]] = {}
    for key in tensors:
        if (method := other_method(key)) is not None:
            others.setdefault(method, []).append(key)
    for method, keys in others.items():
        raise UsageError(
            f"{what} with {method} ({_some(keys)})", "LoRA, LoCon or DoRA of linear layers and convolutions"
        )


Groups = dict[str, tuple[Place, dict[Kind, tuple[str, Tensor]]]]


def _grouped(
    tensors: Mapping[str, Tensor], places: Places, dialect: Dialect, part: str
) -> tuple[Groups, dict[str, list[str]], list[str]]:
    """The tensors of each name that has a place; keys of other parts; keys without a place."""
    groups: Groups = {}
    elsewhere: dict[str, list[str]] = {}
    lost: list[str] = []
    located: dict[str, tuple[Place | None, str | None]] = {}
    for key, tensor in tensors.items():
        found = split(key)
        if found is None:
            lost.append(key)
            continue
        stem, kind = found
        if stem not in located:
            located[stem] = _locate(stem, places, dialect, part)
        place, other = located[stem]
        if place is not None:
            _, kinds = groups.setdefault(stem, (place, {}))
            if kind in kinds:
                lost.append(key)
            kinds[kind] = (key, tensor)
        elif other is not None:
            elsewhere.setdefault(other, []).append(key)
        else:
            lost.append(key)
    return groups, elsewhere, lost


def _locate(stem: str, places: Places, dialect: Dialect, part: str) -> tuple[Place | None, str | None]:
    """The place of a name in the network, or else the other part that its prefix says."""
    other = None
    for prefix, of_part in sorted(dialect.prefixes, key=lambda pair: -len(pair[0])):
        if not stem.startswith(prefix):
            continue
        if of_part not in (part, ANY):
            other = other or (of_part if prefix else None)
        elif (place := places.get(stem[len(prefix) :])) is not None:
            return place, None
        elif prefix:
            return None, None
    return None, other


def _changes(
    stem: str,
    place: Place,
    kinds: Mapping[Kind, tuple[str, Tensor]],
    layers: Layers,
    settings: FileSettings | None,
    what: str,
) -> Iterator[tuple[str, LayerChange]]:
    """The changes that the tensors of one name make."""
    for kind in ("A", "B"):
        if kind not in kinds:
            present = ", ".join(key for key, _ in kinds.values())
            raise UsageError(f"{what} with {present} alone", f"both factors of {stem!r}", "a copy of the file")
    kinds = {kind: (key, _fine(tensor)) for kind, (key, tensor) in kinds.items()}
    for kind, (key, tensor) in kinds.items():
        if not (kind == "alpha" or tensor.is_floating_point()) or not tensor.isfinite().all():
            raise UsageError(f"{what} with numbers in {key!r} that are not finite", "finite numbers", "a copy of it")
    A, B = kinds["A"][1], kinds["B"][1]
    outputs = [layers[name][0] for name in place.layers]
    inner = {layers[name][1:] for name in place.layers}
    shape = next(iter(inner))
    rank = len(A) if A.ndim else 0
    fits = len(inner) == 1 and A.ndim > 1 and B.ndim > 1 and rank > 0
    if not (
        fits and _plain(A.shape[1:]) == _plain(shape) and _plain(B.shape) == _plain(torch.Size((sum(outputs), rank)))
    ):
        raise UsageError(
            f"{what} with {kinds['A'][0]!r} {list(A.shape)} and {kinds['B'][0]!r} {list(B.shape)}",
            f"the shapes [rank, {', '.join(map(str, shape))}] and [{sum(outputs)}, rank] of {' + '.join(place.layers)}",
            "the network that it was made for",
        )
    A, B = A.reshape(rank, *shape), B.reshape(sum(outputs), rank)
    alpha = _alpha(kinds, place, rank, settings, what)
    magnitude, axis = _magnitude(kinds, sum(outputs), shape[0], what)
    if place.swapped:
        B = torch.cat(B.chunk(2)[::-1])
        magnitude = torch.cat(magnitude.chunk(2)[::-1]) if magnitude is not None and axis == "output" else magnitude
    by_output = magnitude is not None and axis == "output"
    if magnitude is not None and not by_output and len(place.layers) > 1:
        raise UsageError(
            f"{what} with magnitudes of inputs for {stem!r}, which is {' + '.join(place.layers)} here",
            "magnitudes of outputs where a layer is cut",
        )
    magnitudes = magnitude.split(outputs) if magnitude is not None and by_output else [magnitude] * len(outputs)
    for name, rows, norms in zip(place.layers, B.split(outputs), magnitudes, strict=True):
        yield name, LayerChange(A=A, B=rows, alpha=alpha, magnitude=norms, magnitudes=axis)


def _fine(tensor: Tensor) -> Tensor:
    """Numbers of few bits in float32; whole numbers, which only alpha may be, as they are."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor


def _plain(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without the kernel sides of 1 at its end, by which a linear layer and a 1 x 1 convolution differ."""
    sides = list(shape)
    while len(sides) > 1 and sides[-1] == 1:
        sides.pop()
    return tuple(sides)


def _alpha(
    kinds: Mapping[Kind, tuple[str, Tensor]], place: Place, rank: int, settings: FileSettings | None, what: str
) -> float:
    if "alpha" in kinds:
        key, tensor = kinds["alpha"]
        alpha = float(tensor) if tensor.numel() == 1 else 0.0
    else:
        key = "its settings"
        alpha = float(rank) if settings is None else settings.alpha_of(place.layers[0], rank)
    if alpha == 0:
        raise UsageError(f"{what} with an alpha in {key!r} that is no number but 0", "one number that is not 0")
    return alpha


def _magnitude(
    kinds: Mapping[Kind, tuple[str, Tensor]], outer: int, inner: int, what: str
) -> tuple[Tensor | None, Axis]:
    """The magnitudes as a vector, and whether they are those of outputs or inputs."""
    if "magnitude" in kinds:
        key, tensor = kinds["magnitude"]
        if tensor.numel() == outer:
            return tensor.flatten(), "output"
    elif "dora_scale" in kinds:
        key, tensor = kinds["dora_scale"]
        if tensor.numel() == outer and tensor.shape[:1] == (outer,):
            return tensor.flatten(), "output"
        if tensor.numel() == inner and tensor.shape[:2] == (1, inner):
            return tensor.flatten(), "input"
    else:
        return None, "output"
    raise UsageError(f"{what} with {key!r} of shape {list(tensor.shape)}", f"[{outer}] or [1, {inner}]")


def _some(keys: Sequence[str]) -> str:
    """The first few keys and their number."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} key{'s' if len(keys) > 1 else ''}, {', '.join(map(repr, keys[:SHOWN]))}{more},"
