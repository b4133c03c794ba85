"""What one training step does: which networks there are, which of them learn, and by which losses.

A step is a sequence of phases. In each, one network moves along the gradient of its loss, averaged over the rows of a
batch, while all other networks are constants:

    theta_k <- optimizer_k(theta_k, grad_(theta_k) mean over rows of loss_k(batch, rng_k)),      k = 0, 1, ...

Regression has one phase. A generative adversarial network has two (Goodfellow et al., 2014); distribution matching has
two, of which the student's runs every fifth step (Yin et al., 2024, "Improved Distribution Matching Distillation for
Fast Image Synthesis"). Targets that follow a network, such as the teacher of consistency training, are networks without
a phase, moved by `after_update`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.objective import Objective
from unmelt.rng import Random
from unmelt.train.optimizer import Optimizer


class Batch(NamedTuple):
    """What a loss is given: the rows of one training step, or this process's part of them.

    Args:
        x0: Clean data in model space, [rows, *shape], on the training device.
        condition: What is known about each row, or None.
        step: Number of the training step, counted from 0.
    """

    x0: Tensor
    condition: Condition | None
    step: int


Loss = Callable[[Batch, Random], Tensor]
"""(batch, rng) -> one loss per row, [rows]. All randomness comes from rng, so that a resumed run draws the same."""


@final
@dataclass(frozen=True, kw_only=True)
class Phase:
    """One network's part of a training step. Only that network receives gradients from the loss.

    Args:
        network: Name of the network that learns, a key of `TrainStep.networks`.
        loss: (batch, rng) -> per-row loss, [rows]; the phase minimises its mean.
        every: The phase runs in the steps whose number is a multiple of this; 1 is every step.
        lr_factor: Factor on the run's learning rate.
        optimizer: How this network's gradients become updates; None is the run's own optimizer.
        held_out: Whether the loss measures how good the network is, so that it is also evaluated on held-out data with
            the averaged weights. Only asked of the first phase.

    Raises:
        UsageError: If `every` is not a positive whole number or `lr_factor` is not a positive number.
    """

    network: str
    loss: Loss
    every: int = 1
    lr_factor: float = 1.0
    optimizer: Optimizer | None = None
    held_out: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise UsageError(f"every={self.every!r}", "a whole number of at least 1", "every=5")
        if not 0 < self.lr_factor < float("inf"):
            raise UsageError(f"lr_factor={self.lr_factor}", "a positive number", "lr_factor=1.0")


@runtime_checkable
class TrainStep(Protocol):
    """The networks of a run and the losses they learn by. The trainer owns everything else.

    The trainer asks for networks, frozen modules and phases once, when it is made. It moves all modules to the device,
    gives each learning network its optimizers, gradient clipping and skipping of non-finite gradients, and saves and
    restores every network and every optimizer.
    """

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the networks by name, those that learn and those that follow.

        The first one is the model's: its weights are averaged, and the average is what is saved and sampled. A network
        may hold parameters of another one, as adapters in a denoiser do. A network without a phase is in evaluation
        mode; it is saved in checkpoints like the others.
        """

    def frozen(self) -> Sequence[nn.Module]:
        """Return modules that losses call but that never change, such as a pretrained teacher.

        They are moved to the device and kept in evaluation mode, receive no gradient and are not in checkpoints.
        """

    def phases(self) -> Sequence[Phase]:
        """Return the phases in the order in which they run; at least one of them runs in every step."""

    def after_update(self, network: str, step: int) -> None:
        """Move what follows a network. Called after each of its optimizer steps, without gradients.

        Args:
            network: Name of the network that has just been updated.
            step: Number of the training step, counted from 0.
        """


@runtime_checkable
class SteppedObjective(Objective, Protocol):
    """An objective that changes in the course of training."""

    def at_step(self, step: int) -> Objective:
        """The objective of one training step.

        Args:
            step: Number of the step, counted from 0.

        Returns:
            The objective.
        """


def objective_at(objective: Objective, batch: Batch, learning: nn.Module) -> Objective:
    """The objective of a batch: that of its step while a network learns, and as it is while held-out data are judged.

    Args:
        objective: The objective.
        batch: The batch.
        learning: The network that learns, in training mode where it does.

    Returns:
        The objective to compute.
    """
    is_due = learning.training and isinstance(objective, SteppedObjective)
    return objective.at_step(batch.step) if is_due else objective  # type: ignore[attr-defined]


@final
@dataclass(frozen=True, eq=False)
class ObjectiveStep:
    """One denoiser that learns by one objective: the `TrainStep` of plain training.

    Args:
        denoiser: The network, an nn.Module that is a denoiser.
        objective: (denoiser, x0, condition, rng) -> per-row loss.
        constants: Modules that the objective calls, and that never change.
    """

    denoiser: nn.Module
    objective: Objective
    constants: Sequence[nn.Module] = ()

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the denoiser alone."""
        return {"denoiser": self.denoiser}

    def frozen(self) -> Sequence[nn.Module]:
        """Return the modules that the objective calls."""
        return self.constants

    def phases(self) -> Sequence[Phase]:
        """Return one phase, the objective's."""
        return (Phase(network="denoiser", loss=self._loss),)

    def _loss(self, batch: Batch, rng: Random) -> Tensor:
        objective = objective_at(self.objective, batch, self.denoiser)
        return objective(self.denoiser, batch.x0, batch.condition, rng)

    def after_update(self, network: str, step: int) -> None:
        """Do nothing: no other network follows."""


def check_step(networks: Mapping[str, Any], phases: Sequence[Phase]) -> None:
    """Refuse a training step that cannot run.

    Args:
        networks: The networks by name.
        phases: The phases that a step says it has.

    Raises:
        UsageError: If a name is not an identifier, no phase runs in every step, a phase names no network, or two phases
            name the same one.
    """
    names = [phase.network for phase in phases]
    if odd := [name for name in networks if not name.isidentifier()]:
        raise UsageError(f"a network called {odd[0]!r}", "a name of letters, digits and underscores", "'fake_score'")
    if not any(phase.every == 1 for phase in phases):
        raise UsageError(
            f"phases with every={[phase.every for phase in phases]}", "a phase that runs in every step", "every=1"
        )
    if unknown := [name for name in names if name not in networks]:
        raise UsageError(
            f"a phase for {unknown[0]!r}", f"one of {', '.join(networks)}", f"network={next(iter(networks))!r}"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(
            f"two phases for {twice[0]!r}", "at most one phase per network", "one phase with the sum of both"
        )
