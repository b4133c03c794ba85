"""How a run is computed: what changes its speed and its memory, but not what it learns.

A run may be interrupted with one `Execution` and go on with another: any number of processes or parts, or none of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import final

from torch import nn
from torch.utils.checkpoint import checkpoint

from unmelt.arguments import checked_init
from unmelt.errors import UsageError


@final
@checked_init("um.train.Execution")
@dataclass(frozen=True, kw_only=True)
class Execution:
    """Settings of a run that may change at every resumption.

    Args:
        gradient_accumulation: Parts that a batch is divided into, computed one after the other; 1 is the whole batch.
        activation_checkpointing: Whether to keep only each block's input and recompute the rest for the gradient.
        compile: Whether torch compiles the networks: up to a minute at the start, faster steps on a GPU.
        shard: Whether each of several processes keeps a part of weights and optimizer (FSDP2) instead of all of them.

    Raises:
        UsageError: If `gradient_accumulation` is not a positive whole number.
    """

    gradient_accumulation: int = 1
    activation_checkpointing: bool = False
    compile: bool = False
    shard: bool = False

    def __post_init__(self) -> None:
        count = self.gradient_accumulation
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UsageError(
                f"gradient_accumulation={count!r}", "a whole number of at least 1", "gradient_accumulation=4"
            )

    @contextmanager
    def prepared(self, *networks: nn.Module) -> Iterator[None]:
        """Inside, the networks are compiled or checkpoint their activations, as set; afterwards they are as before.

        Args:
            networks: The networks that are computed with.

        Yields:
            Nothing.
        """
        checkpointed = [block for each in networks for block in blocks(each)] if self.activation_checkpointing else []
        for block in checkpointed:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        compiled = []
        if self.compile:
            compiled = [part for each in networks for part in worth_compiling(getattr(each, "backbone", each))]
        for each in compiled:
            each.compile()
        try:
            yield
        finally:
            for each in compiled:
                each._compiled_call_impl = None
            for block in checkpointed:
                del block.forward


def worth_compiling(network: nn.Module) -> list[nn.Module]:
    """Find what to compile: blocks that are all alike, which are then compiled only once, or else the whole network.

    Args:
        network: A network, without its denoiser.

    Returns:
        Its modules to compile.
    """
    repeated = blocks(network)
    alike = len({tuple(each.shape for each in block.parameters()) for block in repeated}) == 1
    return repeated if alike else [network]


def blocks(network: nn.Module) -> list[nn.Module]:
    """Find the repeated parts of a network: the members of its lists of modules.

    Args:
        network: Any module.

    Returns:
        The blocks, in order; those within a block are not listed.
    """
    if isinstance(network, nn.ModuleList):
        return list(network)
    return [block for child in network.children() for block in blocks(child)]
