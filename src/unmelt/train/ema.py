"""An average of the weights over training, which samples better than the weights themselves.

    average <- average + (1 - decay_n) (weights - average),      decay_n = min(decay, n / (n + 10))

so that a short run averages over its last tenths and a long one over 1 / (1 - decay) steps. A target network that
follows another one has a constant decay (Tarvainen and Valpola, 2017, "Mean teachers are better role models").
"""

from collections.abc import Iterable
from typing import final

import torch
from torch import Tensor, nn

from unmelt.train.distributed import to_local


@final
class EMA:
    """Exponential moving average of some tensors, kept beside them. Of shards, each process averages its own.

    Args:
        weights: The tensors; they are shared with the network, which is trained in place.
        decay: Largest decay per update, at least 0 and below 1.

    Attributes:
        average: The average of each tensor.
        updates: Number of updates so far.
    """

    def __init__(self, weights: Iterable[Tensor], decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights = [to_local(weight.detach()) for weight in weights]
        self.average = [weight.clone() for weight in self.weights]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are now."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        torch._foreach_lerp_(self.average, self.weights, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange weights and average; a second call changes them back."""
        for weight, average in zip(self.weights, self.average, strict=True):
            held = weight.clone()
            weight.copy_(average)
            average.copy_(held)


@torch.no_grad()
def update_target(target: nn.Module, network: nn.Module, decay: float) -> None:
    """Move a target network's weights towards another's, target <- decay target + (1 - decay) network; copy buffers.

    Args:
        target: A copy of the network; changed in place.
        network: The network that it follows.
        decay: Share of the target that stays, from 0 (a copy) to 1 (a constant).
    """
    pairs = list(zip(target.parameters(), network.parameters(), strict=True))
    torch._foreach_lerp_([to_local(one) for one, _ in pairs], [to_local(other) for _, other in pairs], 1 - decay)
    for one, other in zip(target.buffers(), network.buffers(), strict=True):
        one.copy_(other)
