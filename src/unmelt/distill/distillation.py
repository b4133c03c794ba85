"""What every distillation method says of itself: who the student is, how it samples, and how it learns.

A student does in a few network calls what its teacher does in many. For data that are numbers it is a flow map: a
network that jumps along the probability-flow ODE (`denoiser/flow_map.py`). For tokens it is a denoiser that is right
about several tokens at once. Either is a denoiser of a `Model` like any other, and a method is a `TrainStep` with a
teacher.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.guidance import CFG
from unmelt.rng import Random
from unmelt.sampler import Grid, Sampler
from unmelt.train import Training, TrainStep


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Setup:
    """What a method is given to make a training step of.

    Args:
        teacher: The teacher's denoiser, which stays as it is.
        student: The student's denoiser, made by the method.
        grid: The times that the student's sampler visits.
        training: Steps, batch and learning rate of the student.
        guidance_range: (low, high), guidance scales that the student learns; None for none.
        drop: Share of rows whose condition is dropped to null.
        padding: Token that fills rows up, which is neither corrupted nor learned. None: no padding.
    """

    teacher: Any
    student: Any
    grid: Grid
    training: Training
    guidance_range: tuple[float, float] | None = None
    drop: float = 0.0
    padding: int | None = None

    @property
    def guided_teacher(self) -> Any:
        """The teacher's denoiser, guided by each row's `Condition.guidance_scale` where the student learns guidance.

        A teacher that is itself a student and has learned guidance takes the scale as an input. It is not guided again.
        """
        knows = getattr(self.teacher, "guidance_range", None) is not None
        return self.teacher if self.guidance_range is None or knows else CFG(self.teacher, 1.0)

    def drawn(self, condition: Condition | None, rows: int, rng: Random, device: torch.device) -> Condition | None:
        """A batch's condition as the student is to see it: some rows dropped, each with a guidance scale.

        The logarithm of the scale is uniform over the range.

        Args:
            condition: What is known of each row.
            rows: How many rows.
            rng: Source of randomness.
            device: Where the batch is.

        Returns:
            The condition; None if there is none.
        """
        if condition is None:
            return None
        if self.drop > 0:
            condition = condition.drop((rng.uniform((rows,)) < self.drop).to(device))
        if self.guidance_range is None:
            return condition
        low, high = self.guidance_range
        scale = low * (high / low) ** rng.uniform((rows,), torch.float64)
        return replace(condition, guidance_scale=scale.to(device))


class Distillation(ABC):
    """A way to make a student that needs few network calls. Methods are dataclasses of their own settings."""

    KIND: ClassVar[Literal["numbers", "tokens"]]
    """The data that it is for: numbers (`Model`) or tokens (`TextModel`)."""

    @property
    @abstractmethod
    def needs_teacher(self) -> bool:
        """Whether the teacher must have learned something; without, only its network's shape counts."""

    @abstractmethod
    def student(self, teacher: nn.Module, guidance_range: Sequence[float] | None) -> nn.Module:
        """Make the student's denoiser, which begins with the teacher's weights.

        Args:
            teacher: The teacher's denoiser.
            guidance_range: (low, high), guidance scales that the student learns; None for none.

        Returns:
            The student's denoiser.

        Raises:
            UsageError: If the method cannot learn from such a teacher.
        """

    @abstractmethod
    def sampler(self) -> Sampler:
        """The student's own sampler."""

    @abstractmethod
    def training(self, teacher: Training) -> Training:
        """How the student learns if nothing else is asked for.

        Args:
            teacher: How the teacher learned.

        Returns:
            The training.
        """

    @abstractmethod
    def train_step(self, setup: Setup) -> TrainStep:
        """The networks and losses of one training step.

        Args:
            setup: Teacher, student and settings.

        Returns:
            The training step; its first network is the student.
        """


def no_grad_mean(denoiser: Any, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
    """A denoiser's believed x0 as a constant.

    Args:
        denoiser: The denoiser.
        x_t: [rows, *shape], data at time t.
        t: [rows], times.
        condition: What is known of each row.

    Returns:
        [rows, *shape], without a graph.
    """
    with torch.no_grad():
        mean: Tensor = denoiser(x_t, t, condition).mean
    return mean


def check_unguided_from_scratch(
    method: Distillation, from_scratch: bool, guidance_range: Sequence[float] | None
) -> None:
    """Refuse to learn guidance without a teacher, where the student has no belief of its own to guide.

    Args:
        method: The method.
        from_scratch: Whether there is no teacher.
        guidance_range: (low, high), guidance scales that the student is to learn; None for none.

    Raises:
        UsageError: If guidance is to be learned without a teacher.
    """
    if from_scratch and guidance_range is not None:
        raise UsageError(
            f"{type(method).__name__}(from_scratch=True) with guidance_range={tuple(guidance_range)}",
            "a teacher, whose beliefs can be guided, or a method whose student has beliefs of its own",
            "um.distill.MeanFlow(from_scratch=True)",
        )
