"""One network that learns in a phase: gradients averaged over processes, clipped, and taken as a step unless lost.

    g <- g min(1, clip / |g|),      theta <- optimizer(theta, g) where |g| is finite, else theta

The decision is made on the device itself, so that no step waits for the host.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from unmelt.train import distributed
from unmelt.train.step import Phase
from unmelt.train.training import Training


@final
class Learner:
    """A network, its phase and its optimizers.

    Args:
        phase: The phase that the network learns in.
        network: The network, on its device, sharded if it is to be.
        training: The run's learning rate, clipping and optimizer.
        device: Device of the losses.

    Attributes:
        skipped: [2], on the device: steps left out for a non-finite gradient since the last report, and in a row.
    """

    def __init__(self, phase: Phase, network: nn.Module, training: Training, device: torch.device) -> None:
        self.phase, self.network, self.training, self.device = phase, network, training, device
        self.parameters = list(network.parameters())
        self.optimizers = (phase.optimizer or training.optimizer).of(network, training.lr * phase.lr_factor)
        self.skipped = torch.zeros(2, device=device)

    def runs(self, step: int) -> bool:
        """Whether the phase runs in a training step.

        Args:
            step: Number of the training step, counted from 0.

        Returns:
            True if the number is a multiple of the phase's `every`.
        """
        return step % self.phase.every == 0

    def update(self, step: int, loss: Tensor) -> None:
        """Take an optimizer step along the gradients that are there, and clear them.

        Args:
            step: Number of the training step, for the learning rate.
            loss: This process's share of the loss; replaced by its mean over the processes.
        """
        gradients = [grad for each in self.parameters if (grad := each.grad) is not None]
        distributed.average_gradients([loss, *gradients])
        norm = distributed.full_tensor(get_total_norm(gradients))
        torch._foreach_mul_(gradients, (self.training.clip / (norm + 1e-6)).clamp_max(1))
        lost = ~norm.isfinite()
        self.skipped = torch.stack([self.skipped[0] + lost, (self.skipped[1] + 1) * lost])
        lr = self.training.lr_at(step) * self.phase.lr_factor
        for optimizer in self.optimizers:
            optimizer.found_inf = lost.float()  # type: ignore[attr-defined]
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


@contextmanager
def without_gradients(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Inside, these parameters are constants; afterwards each requires a gradient if it did before.

    Args:
        parameters: Parameters that a loss may read but must not train.

    Yields:
        Nothing.
    """
    before = [(each, each.requires_grad) for each in parameters]
    for each, _ in before:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each, required in before:
            each.requires_grad_(required)
