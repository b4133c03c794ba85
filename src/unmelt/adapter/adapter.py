"""Adapters: attached beside a network's weights, one or several, for some rows or all; or merged into the weights.

    attached    y = W x + b + sum_i s_i[row] D_i(W) x
    merged      W' = W + sum_i s_i D_i(W)
    LoRA        D(W) = (alpha / rank) B A
    DoRA        D(W) = m V / |V| - W,   V = W + (alpha / rank) B A

Attaching does not change the network: a forward hook on every layer adds the adapter's change to the layer's output,
and detaching removes the hook. The network keeps its modules and its state_dict keys.
"""

from __future__ import annotations

import sys
from functools import partial
from types import TracebackType
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.adapter.lora import LoRA
from unmelt.adapter.low_rank import LowRank
from unmelt.call_repr import CallRepr
from unmelt.errors import UsageError


@final
class Adapter(CallRepr, nn.Module):
    """Low-rank changes of a network's layers, zero at first.

    The network is only read. `parameters()` and `state_dict()` are the adapter's own: give them to the optimizer,
    and save them beside a description of `config`. The network's weights get gradients too unless they are frozen with
    `network.requires_grad_(False)`, which saves their memory. First weights come from the global generator
    (`unmelt.rng.seeded`).

    Args:
        network: The network that will be adapted, or one of the same architecture.
        config: Rank, scale and layers.

    Raises:
        UsageError: If a target of the configuration matches no layer of the network.
    """

    def __init__(self, network: nn.Module, config: LoRA) -> None:
        super().__init__()
        self.config = config
        self.factors = nn.ModuleDict({_key(name): each for name, each in config.factors(network).items()})

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the layers that are changed."""
        return tuple(_name(key) for key in self.factors)

    @property
    def layer_factors(self) -> dict[str, LowRank]:
        """The factors of each layer that is changed, by the layer's name."""
        return {_name(key): each for key, each in self.factors.items() if isinstance(each, LowRank)}

    def attach(self, network: nn.Module, scale: float | Float[Tensor, " rows"] = 1.0) -> Attachment:
        """Attach the adapter to a network until it is detached; as a context manager, it detaches at the end.

        Several adapters can be attached at once. Gradients flow to the adapter's parameters, and to a scale that is a
        tensor. With activation checkpointing, keep the adapter attached until the backward pass is over, because blocks
        are computed again in it. Compiled networks are compiled again at their next call, since what compiled code
        knows of hooks is fixed: to switch adapters often, change `scale` and leave them attached.

        Args:
            network: A network with layers of the same names and shapes as the one that the adapter was made for.
            scale: How much of the change is applied: one number for all rows, or one for each row [rows], by which
                requests with different adapters share a batch. 0 leaves a row unchanged.

        Returns:
            The attachment: `scale` can be set on it, and `detach()` ends it.

        Raises:
            UsageError: If the network's layers do not fit, or this adapter is attached to them already.
        """
        return Attachment(self, self._layers(network), scale)

    @torch.no_grad()
    def merge(self, network: nn.Module, scale: float = 1.0) -> None:
        """Add the change to a network's weights, which then cost nothing extra. Sums are computed in float32 or finer.

        LoRA's change is the same for all weights. DoRA's is that of the weights which it meets: where several adapters
        are merged, one that decomposes gives another result after the others than before them.

        Args:
            network: A network with layers of the same names and shapes as the one that the adapter was made for.
            scale: How much of the change is added.

        Raises:
            UsageError: If the network's layers do not fit, or the adapter is attached to them, which would count twice.
        """
        for layer, factors in self._layers(network):
            weight = layer.weight
            change = scale * self.config.scale * factors.change(weight).to(weight.device)
            weight.copy_(weight.to(change.dtype) + change)

    def unmerge(self, network: nn.Module, scale: float = 1.0) -> None:
        """Subtract what `merge` added. Weights come back within rounding; keep a copy where every bit matters.

        Args:
            network: The network that was merged into.
            scale: The scale it was merged with.

        Raises:
            UsageError: As `merge`, or if the adapter decomposes, because the norms that merging divided by are gone.
        """
        if self.config.decompose:
            raise UsageError(
                "an adapter with magnitudes, which divides by the norms of the weights that it was merged into",
                "a copy of the network from before",
                "copy.deepcopy(network) before merge",
            )
        self.merge(network, -scale)

    def _layers(self, network: nn.Module) -> list[tuple[Any, LowRank]]:
        """The network's layers and the factors of each."""
        modules, found = dict(network.named_modules()), []
        for key, factors in self.factors.items():
            layer = modules.get(_name(key))
            assert isinstance(factors, LowRank)
            if layer is None or not factors.fits(layer):
                raise UsageError(
                    f"a {type(network).__name__} that has no layer {_name(key)!r} of shape"
                    f" {[len(factors.B), *factors.A.shape[1:]]}",
                    "a network like the one that the adapter was made for",
                    "Adapter(network, config), made for this one",
                )
            if any(getattr(hook, "args", (None,))[0] is factors for hook in layer._forward_hooks.values()):
                raise UsageError(
                    "an adapter that is attached to this network",
                    "one that is not, since it would count twice",
                    "attachment.detach()",
                )
            found.append((layer, factors))
        return found


@final
class Attachment:
    """An adapter attached to a network, made by `Adapter.attach`. `detach`, or leaving it as a context, ends it.

    Args:
        adapter: The adapter.
        layers: The network's layers, and the adapter's factors of each.
        scale: How much of the change is applied, for all rows or for each.
    """

    def __init__(
        self, adapter: Adapter, layers: list[tuple[Any, LowRank]], scale: float | Float[Tensor, " rows"]
    ) -> None:
        self.adapter = adapter
        self.scale = scale
        self._hooks = [layer.register_forward_hook(partial(_add, factors, self)) for layer, factors in layers]
        _forget_compiled()

    @property
    def scale(self) -> Tensor:
        """How much of the change is applied: one number, or one for each row. It can be set to a number or a tensor."""
        return self._scale

    @scale.setter
    def scale(self, value: float | Tensor) -> None:
        found = value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
        if found.ndim > 1 or not (found.is_floating_point() or found.dtype in (torch.int64, torch.bool)):
            raise UsageError(
                f"a scale of shape {list(found.shape)} and type {found.dtype}",
                "one number, or one for each row",
                "scale=torch.tensor([1.0, 0.0])",
            )
        self._scale = found if found.is_floating_point() else found.float()
        self.is_off = not isinstance(value, Tensor) and value == 0

    def detach(self) -> None:
        """Take the adapter out of the network, which is then bit for bit what it was. A second call does nothing."""
        for hook in self._hooks:
            hook.remove()
        if self._hooks:
            _forget_compiled()
        self._hooks = []

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def _add(factors: LowRank, attachment: Attachment, layer: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
    """The layer's output with the adapter's share, in the output's type."""
    if attachment.is_off:
        return output
    config, scale = attachment.adapter.config, attachment.scale
    x = F.dropout(args[0], config.dropout, layer.training) if config.dropout else args[0]
    if scale.ndim:
        if len(scale) != len(output):
            raise UsageError(
                f"a scale for {len(scale)} rows in a call with {len(output)}",
                "one number for each row of the batch, or one for all",
                "attachment.scale = 1.0",
            )
        scale = scale.view(-1, *[1] * (output.ndim - 1))
    change = factors(layer, x)
    return output + (config.scale * scale.to(change.device, change.dtype) * change).to(output.dtype)


def _forget_compiled() -> None:
    """Compiled code has the hooks of its first call built in."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def _key(name: str) -> str:
    return name.replace(".", "/") or "/"


def _name(key: str) -> str:
    return key.replace("/", ".").strip(".")
