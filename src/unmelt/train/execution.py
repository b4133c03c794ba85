"""How a run is computed: what changes its speed and its memory, but not what it learns.

A run may be interrupted on one engine and go on with another: any number of processes, parts, or none of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import final

from torch import nn
from torch.utils.checkpoint import checkpoint

from unmelt.errors import UsageError


@final
@dataclass(frozen=True, kw_only=True)
class Execution:
    """
    accumulate   parts that a batch is worked through in, one after the other, where all of it does not fit
    recompute    keep only what goes in and out of each block, and work out the rest again for the gradient
    compile      let torch compile the network: a minute at the start, less for a transformer; faster steps on a GPU
    shard        with several processes, each keeps a part of weights and optimizer (FSDP2) in place of all of them
    """

    gradient_accumulation: int = 1
    activation_checkpointing: bool = False
    compile: bool = False
    shard: bool = False

    def __post_init__(self) -> None:
        if (
            isinstance(self.gradient_accumulation, bool)
            or not isinstance(self.gradient_accumulation, int)
            or self.gradient_accumulation < 1
        ):
            raise UsageError(
                f"accumulate={self.gradient_accumulation!r}", "a whole number of at least 1", "accumulate=4"
            )

    @contextmanager
    def prepared(self, network: nn.Module) -> Iterator[None]:
        """Inside, the network is compiled, or recomputes, as asked; afterwards it is as it was."""
        if self.activation_checkpointing:
            for block in blocks(network):
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        compiled = worth_compiling(getattr(network, "backbone", network)) if self.compile else []
        for each in compiled:
            each.compile()
        try:
            yield
        finally:
            for each in compiled:
                each._compiled_call_impl = None
            if self.activation_checkpointing:
                for block in blocks(network):
                    del block.forward


def worth_compiling(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network where all are alike, which are then compiled but once; else the whole of it."""
    repeated = blocks(network)
    alike = len({tuple(each.shape for each in block.parameters()) for block in repeated}) == 1
    return repeated if alike else [network]


def blocks(network: nn.Module) -> list[nn.Module]:
    """The repeated parts of a network: the members of its lists of modules."""
    if isinstance(network, nn.ModuleList):
        return list(network)
    return [block for child in network.children() for block in blocks(child)]
