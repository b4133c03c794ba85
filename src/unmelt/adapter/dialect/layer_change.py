"""The change of one layer as a file has it, and an adapter of such changes.

W' = W + (alpha / rank) B A,        with magnitudes  W' = m V / |V|, V = W + (alpha / rank) B A
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from unmelt.adapter.adapter import Adapter
from unmelt.adapter.lora import LoRA
from unmelt.adapter.low_rank import Axis
from unmelt.errors import UsageError
from unmelt.rng import seeded


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LayerChange:
    """The factors of one layer's change.

    Args:
        A: [rank, *inner], in the shape of the layer's weight but for the outputs.
        B: [outer, rank].
        alpha: B A is multiplied by alpha / rank.
        magnitude: [outer] or [inner], the norms of DoRA; None for LoRA.
        magnitudes: Whether the norms are those of each "output" or each "input".
    """

    A: Tensor
    B: Tensor
    alpha: float
    magnitude: Tensor | None = None
    magnitudes: Axis = "output"

    @property
    def rank(self) -> int:
        """The rank of the change."""
        return len(self.A)


def config_of(changes: Mapping[str, LayerChange], scale: float = 1.0) -> LoRA:
    """The configuration of an adapter with these changes.

    Args:
        changes: The changes by the layer's name; at least one.
        scale: How much of them is applied.

    Returns:
        The configuration. The most frequent rank and alpha are its own, those of other layers are in its patterns.

    Raises:
        UsageError: If some layers have magnitudes and others have none, or magnitudes are of outputs here and of inputs
            there.
    """
    axes = {None if each.magnitude is None else each.magnitudes for each in changes.values()}
    if len(axes) > 1:
        counts = Counter("none" if c.magnitude is None else f"one for each {c.magnitudes}" for c in changes.values())
        told = ", ".join(f"{count} layers with {what}" for what, count in counts.items())
        raise UsageError(f"an adapter whose layers differ in their magnitudes ({told})", "the same in all layers")
    (axis,) = axes
    rank = Counter(each.rank for each in changes.values()).most_common(1)[0][0]
    alpha = Counter(each.alpha for each in changes.values()).most_common(1)[0][0]
    return LoRA(
        rank=rank,
        alpha=alpha,
        targets=tuple(f"^{name}" for name in changes),
        decompose=axis is not None,
        magnitudes=axis or "output",
        rank_pattern=tuple((f"^{name}", each.rank) for name, each in changes.items() if each.rank != rank),
        alpha_pattern=tuple((f"^{name}", each.alpha) for name, each in changes.items() if each.alpha != alpha),
        scale=scale,
    )


def adapter_of(network: nn.Module, changes: Mapping[str, LayerChange], scale: float = 1.0) -> Adapter:
    """Make an adapter of changes that are known.

    Args:
        network: The network that will be adapted.
        changes: The changes by the layer's name; at least one.
        scale: How much of them is applied.

    Returns:
        The adapter.

    Raises:
        UsageError: As `config_of`.
    """
    with seeded(0):  # its first weights are replaced; the global generator stays as it is
        adapter = Adapter(network, config_of(changes, scale))
    fill(adapter, changes)
    return adapter


@torch.no_grad()
def fill(adapter: Adapter, changes: Mapping[str, LayerChange]) -> None:
    """Replace an adapter's weights.

    Args:
        adapter: An adapter whose configuration is that of the changes.
        changes: The changes by the layer's name.
    """
    for name, factors in adapter.layer_factors.items():
        change = changes[name]
        factors.A.copy_(change.A)
        factors.B.copy_(change.B)
        if factors.magnitude is not None and change.magnitude is not None:
            factors.magnitude.copy_(change.magnitude)


def stacked(parts: Sequence[tuple[Adapter, float]]) -> dict[str, LayerChange]:
    """The weighted sum of adapters that do not decompose: sum_i s_i B_i A_i = [s_1 B_1, s_2 B_2, ...] [A_1; A_2; ...].

    Args:
        parts: The adapters, each with how much of it.

    Returns:
        The changes by the layer's name.
    """
    terms: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for adapter, scale in parts:
        for name, each in changes_of(adapter).items():
            terms.setdefault(name, []).append((each.A, scale * each.alpha / each.rank * each.B))
    return {
        name: LayerChange(
            A=torch.cat([A for A, _ in each]),
            B=torch.cat([B for _, B in each], dim=1),
            alpha=float(sum(len(A) for A, _ in each)),
        )
        for name, each in terms.items()
    }


def changes_of(adapter: Adapter) -> dict[str, LayerChange]:
    """The changes of an adapter, for a file.

    Args:
        adapter: The adapter.

    Returns:
        The changes by the layer's name. LoRA's scale is in alpha.

    Raises:
        UsageError: If the adapter decomposes and its scale is not 1, which no alpha can say.
    """
    if adapter.config.decompose and adapter.config.scale != 1:
        raise UsageError(
            f"an adapter that decomposes, at scale {adapter.config.scale:g}", "scale 1", "load_adapter(path, scale=1.0)"
        )
    return {
        name: LayerChange(
            A=each.A.detach(),
            B=each.B.detach(),
            alpha=each.factor * len(each.A) * adapter.config.scale,
            magnitude=None if each.magnitude is None else each.magnitude.detach(),
            magnitudes=adapter.config.magnitudes,
        )
        for name, each in adapter.layer_factors.items()
    }
