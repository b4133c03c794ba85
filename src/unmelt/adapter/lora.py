"""Low-rank adaptation: the configuration, and which layers of a network it changes.

    LoRA    W' = W + scale (alpha / rank) B A                                           Hu et al., 2021, section 4.1
    DoRA    W' = W + scale (m V / |V| - W),   V = W + (alpha / rank) B A                Liu et al., 2024, eq. 5

A pattern names layers as they are called in the network, with * for anything: "blocks.*.attention.project". A name's
last parts are enough: "project" stands for every layer of that name. A pattern that begins with ^ is the whole name:
"^project" is not "blocks.0.project".
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar, final

from torch import nn

from unmelt.adapter.low_rank import Axis, Layer, LowRank
from unmelt.arguments import checked_init
from unmelt.errors import UsageError

_NEAR = 6

V = TypeVar("V", int, float)


@final
@checked_init("um.adapter.LoRA")
@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank adaptation of linear layers and convolutions (LoRA: Hu et al., 2021; DoRA: Liu et al., 2024).

    Args:
        rank: Rank of the change of each weight.
        alpha: The change is B A times alpha / rank, so that learning rates carry over from one rank to another.
        targets: Patterns of layer names; ("*",) for every linear layer and convolution.
        dropout: Share of the layers' inputs that the change does not see in training.
        decompose: Learn the norms of the weights separately from their directions (DoRA, which peft calls use_dora). A
            call then costs as much as one more of the layer itself, until the adapter is merged.
        magnitudes: With `decompose`, whether there is a magnitude for each "output" of a layer, as in peft and LyCORIS,
            or for each "input", as in OneTrainer.
        rank_pattern: Ranks of layers that differ, as pairs of a pattern and a rank. The first match counts.
        alpha_pattern: Alphas of layers that differ, as pairs of a pattern and an alpha. The first match counts.
        scale: How much of the change is applied wherever the adapter is used; 1 as it was trained.

    Raises:
        UsageError: If a rank is below 1, an alpha is 0 or not finite, no targets are given, dropout is outside [0, 1),
            or scale is not finite.
    """

    rank: int = 8
    alpha: float = 8.0
    targets: tuple[str, ...] = ("*",)
    dropout: float = 0.0
    decompose: bool = False
    magnitudes: Axis = "output"
    rank_pattern: tuple[tuple[str, int], ...] = ()
    alpha_pattern: tuple[tuple[str, float], ...] = ()
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.rank < 1 or not math.isfinite(self.alpha) or self.alpha == 0 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"LoRA was given rank={self.rank}, alpha={self.alpha}, dropout={self.dropout}",
                "a rank of at least 1, a finite alpha that is not 0, and a dropout in [0, 1)",
                "LoRA(rank=8, alpha=8.0, dropout=0.0)",
            )
        if isinstance(self.targets, str) or not self.targets:
            raise UsageError(f"targets={self.targets!r}", "a tuple of patterns", 'targets=("*",)')
        for pattern, rank in self.rank_pattern:
            if rank < 1:
                raise UsageError(f"rank {rank} for {pattern!r}", "a rank of at least 1", f"({pattern!r}, 4)")
        for pattern, alpha in self.alpha_pattern:
            if not math.isfinite(alpha) or alpha == 0:
                raise UsageError(
                    f"alpha {alpha} for {pattern!r}", "a finite number that is not 0", f"({pattern!r}, 4.0)"
                )
        if not math.isfinite(self.scale):
            raise UsageError(f"scale={self.scale}", "a finite number", "scale=1.0")

    @property
    def factor(self) -> float:
        """alpha / rank, by which B A is multiplied."""
        return self.alpha / self.rank

    def layers(self, network: nn.Module) -> dict[str, Layer]:
        """Find the layers of a network that the patterns name.

        Layers whose weight another module uses too, or computes from other parameters, cannot be changed on their own
        and are never found; neither is the output projection inside `nn.MultiheadAttention`, which is not called.

        Args:
            network: The network.

        Returns:
            The layers by name, in the network's order.

        Raises:
            UsageError: If a pattern matches none of them; says which names are near.
        """
        able = adaptable(network)
        chosen: set[str] = set()
        for pattern in self.targets:
            matches = _matches(able, pattern)
            chosen.update(matches)
            if not matches:
                raise UsageError(
                    f"the target {pattern!r}, which matches none of the {len(able)} linear layers and convolutions of"
                    f" this {type(network).__name__}",
                    f"the name of one, such as {', '.join(map(repr, _near(pattern, list(able)))) or 'none it has'}",
                    'targets=("*",) for all of them',
                )
        return {name: layer for name, layer in able.items() if name in chosen}

    def factors(self, network: nn.Module) -> dict[str, LowRank]:
        """Make the factors of each layer that the patterns name.

        Args:
            network: The network.

        Returns:
            The factors by the layer's name, in the network's order.

        Raises:
            UsageError: As `layers`.
        """
        layers = self.layers(network)
        ranks = _values(layers, self.rank_pattern, self.rank)
        alphas = _values(layers, self.alpha_pattern, self.alpha)
        magnitudes = self.magnitudes if self.decompose else None
        return {
            name: LowRank(layer, ranks[name], alphas[name] / ranks[name], magnitudes) for name, layer in layers.items()
        }


def adaptable(network: nn.Module) -> dict[str, Layer]:
    """Find the linear layers and convolutions of a network whose weight can be changed on its own.

    Args:
        network: The network.

    Returns:
        The layers by name, in the network's order.
    """
    uses = Counter(id(weight) for module in network.modules() for weight in module.parameters(recurse=False))
    uncalled = {id(module.out_proj) for module in network.modules() if isinstance(module, nn.MultiheadAttention)}
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, Layer)
        and "weight" in dict(module.named_parameters(recurse=False))
        and uses[id(module.weight)] == 1
        and id(module) not in uncalled
    }


def _matches(names: Mapping[str, object], pattern: str) -> list[str]:
    """The names that a pattern stands for."""
    whole = pattern.startswith("^")
    plain = pattern[1:] if whole else pattern
    if whole and not set("*?[") & set(plain):
        return [plain] if plain in names else []
    return [name for name in names if fnmatchcase(name, plain) or (not whole and fnmatchcase(name, f"*.{plain}"))]


def _values(names: Mapping[str, object], patterns: Iterable[tuple[str, V]], default: V) -> dict[str, V]:
    """For each name, the value of the first pattern that matches it, else the default."""
    found: dict[str, V] = {}
    for pattern, value in patterns:
        for name in _matches(names, pattern):
            found.setdefault(name, value)
    return {name: found.get(name, default) for name in names}


def _near(pattern: str, names: Sequence[str]) -> list[str]:
    """Names, whole or their last parts, that are most like the pattern; else some of them."""
    plain = pattern.replace("*", "").strip("^.")
    ends = {".".join(name.split(".")[-parts:]): None for parts in (1, 2, 3) for name in names}
    known = list(ends | dict.fromkeys(names))
    return difflib.get_close_matches(plain, known, n=_NEAR, cutoff=0.5) or known[:_NEAR]
