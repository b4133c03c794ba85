"""An average of the weights over training, which samples better than the weights themselves.

    average <- average + (1 - decay_n) (weights - average),      decay_n = min(decay, n / (n + 10))

so that a short run averages over its last tenths and a long one over 1 / (1 - decay) steps.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from unmelt.train.processes import local


class EMA:
    """Exponential moving average of some tensors, kept beside them; of shards, each process keeps its own."""

    def __init__(self, weights: Iterable[Tensor], decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights = [local(weight.detach()) for weight in weights]  # shared with the network, which writes in place
        self.average = [weight.clone() for weight in self.weights]

    @torch.no_grad()
    def update(self) -> None:
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
