"""The training step of methods in which only the student learns, with or without a moving average as its target."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor, nn

from unmelt.rng import Random
from unmelt.train import Phase, update_target
from unmelt.train.step import Batch


@final
@dataclass(eq=False)
class StudentStep:
    """One student and one loss.

    Args:
        student: The student.
        loss: (batch, rng, target) -> per-row loss, [rows]. The target is the student's moving average, or the student
            itself where there is none.
        teacher: The teacher; None if the loss does not call it.
        decay: Decay per step of a moving average of the student, for losses that aim at one. None: no such average.
        part: The part of the student that learns, where the rest stays as it is. None: all of it.
    """

    student: nn.Module
    loss: Callable[[Batch, Random, Any], Tensor]
    teacher: nn.Module | None = None
    decay: float | None = None
    part: nn.Module | None = None
    target: nn.Module | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.target = None if self.decay is None else copy.deepcopy(self.student)

    def networks(self) -> Mapping[str, nn.Module]:
        others = {"target": self.target, "part": self.part}
        return {"student": self.student} | {name: other for name, other in others.items() if other is not None}

    def frozen(self) -> Sequence[nn.Module]:
        return () if self.teacher is None else (self.teacher,)

    def phases(self) -> Sequence[Phase]:
        return (Phase(network="student" if self.part is None else "part", loss=self._loss, held_out=False),)

    def _loss(self, batch: Batch, rng: Random) -> Tensor:
        return self.loss(batch, rng, self.student if self.target is None else self.target)

    def after_update(self, network: str, step: int) -> None:
        if self.target is not None and self.decay is not None:
            update_target(self.target, self.student, self.decay)
