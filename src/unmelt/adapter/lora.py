"""Low-rank adaptation: the configuration, and which layers of a network it changes.

    W' = W + scale (alpha / rank) B A                                                   Hu et al., 2021, section 4.1

A pattern names layers as they are called in the network, with * for anything: "blocks.*.attention.project". A name's
last parts are enough: "project" stands for every layer of that name.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import final

from torch import nn

from unmelt.adapter.low_rank import Layer
from unmelt.arguments import checked_init
from unmelt.errors import UsageError

_NEAR = 6


@final
@checked_init("um.adapter.LoRA")
@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank adaptation of linear layers and convolutions (Hu et al., 2021).

    Args:
        rank: Rank of the change of each weight.
        alpha: The change is B A times alpha / rank, so that learning rates carry over from one rank to another.
        targets: Patterns of layer names; ("*",) for every linear layer and convolution.
        dropout: Share of the layers' inputs that the change does not see in training.

    Raises:
        UsageError: If rank is below 1, alpha is 0 or not finite, no targets are given, or dropout is outside [0, 1).
    """

    rank: int = 8
    alpha: float = 8.0
    targets: tuple[str, ...] = ("*",)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1 or not math.isfinite(self.alpha) or self.alpha == 0 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"LoRA was given rank={self.rank}, alpha={self.alpha}, dropout={self.dropout}",
                "a rank of at least 1, a finite alpha that is not 0, and a dropout in [0, 1)",
                "LoRA(rank=8, alpha=8.0, dropout=0.0)",
            )
        if isinstance(self.targets, str) or not self.targets:
            raise UsageError(f"targets={self.targets!r}", "a tuple of patterns", 'targets=("*",)')

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
        able = _adaptable(network)
        for pattern in self.targets:
            if not any(_matches(name, pattern) for name in able):
                raise UsageError(
                    f"the target {pattern!r}, which matches none of the {len(able)} linear layers and convolutions of"
                    f" this {type(network).__name__}",
                    f"the name of one, such as {', '.join(map(repr, _near(pattern, list(able)))) or 'none it has'}",
                    'targets=("*",) for all of them',
                )
        return {name: layer for name, layer in able.items() if any(_matches(name, each) for each in self.targets)}


def _adaptable(network: nn.Module) -> dict[str, Layer]:
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


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def _near(pattern: str, names: Sequence[str]) -> list[str]:
    """Names, whole or their last parts, that are most like the pattern; else some of them."""
    plain = pattern.replace("*", "").strip(".")
    ends = {".".join(name.split(".")[-parts:]): None for parts in (1, 2, 3) for name in names}
    known = list(ends | dict.fromkeys(names))
    return difflib.get_close_matches(plain, known, n=_NEAR, cutoff=0.5) or known[:_NEAR]
