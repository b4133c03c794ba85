"""Self-distillation through time: one call believes what several smaller steps come to (Deschenaux and Gulcehre, 2024).

The teacher takes smaller steps from x_t, at times t = t_0 > t_1 > ... > t_m, where the student takes a single one:

    x_(t_k+1) ~ q(x_(t_k+1) | x_(t_k), teacher(x_(t_k), t_k))
    target_i = teacher(x_(t_k), t_k)_i,      k the last call in which position i was open
    loss = mean over the open positions of x_t of KL(target_i || student(x_t, t)_i)

A position that is unmasked on the way is thus aimed at the belief that it was drawn from, and one that stays masked at
the last belief (their algorithm 1). A round halves the number of steps, and ends with the student as the next teacher.

Each position learns its own marginal, E[target_i | x_t]. The student stays a product over positions: it takes over how
smaller steps change the teacher's marginals, but not how tokens of one step depend on each other. The marginals of a
teacher with exact beliefs change only by what it draws together in its own steps.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.distill.distillation import Distillation, Setup
from unmelt.distill.token_student import check_teacher, copied, corrupted, grid_step, row_divergence
from unmelt.errors import UsageError
from unmelt.process import Mask
from unmelt.rng import Random
from unmelt.sampler import Ancestral, Sampler
from unmelt.train import Phase, Training, update_target
from unmelt.train.step import Batch

PARTS = 2
"""Steps of the teacher in one of the student's."""


@final
@checked_init("um.distill.SDTT")
@dataclass(frozen=True, kw_only=True)
class SDTT(Distillation):
    """Self-distillation through time, for masked and for uniform diffusion.

    Args:
        rounds: Rounds, each of which halves the number of steps: the first teacher takes 2^rounds steps of its own in
            each of the student's. 3 rounds go from 64 steps to 8.
        training_steps: Training steps of all rounds together, if the call does not say.
        lr: Peak learning rate, if the call does not say.

    Raises:
        UsageError: If there is no round.
    """

    KIND: ClassVar = "tokens"

    rounds: int = 3
    training_steps: int = 2400
    lr: float = 2e-4

    def __post_init__(self) -> None:
        if isinstance(self.rounds, bool) or not 1 <= self.rounds <= 12:
            raise UsageError(f"SDTT with rounds={self.rounds!r}", "1 to 12 rounds", "SDTT(rounds=3)")

    @property
    def needs_teacher(self) -> bool:
        return True

    def student(self, teacher: nn.Module, guidance_range: Sequence[float] | None) -> nn.Module:
        student: nn.Module = copied(check_teacher("SDTT", teacher, guidance_range))
        return student

    def sampler(self) -> Sampler:
        return Ancestral()

    def training(self, teacher: Training) -> Training:
        return replace(teacher, steps=self.training_steps, lr=self.lr)

    def train_step(self, setup: Setup) -> "SDTTStep":
        return SDTTStep(self, setup)


@final
@dataclass(eq=False)
class SDTTStep:
    """The training step: the student, and the teacher of the round, which is the student of the round before.

    Args:
        method: The rounds.
        setup: Teacher, student, grid and training.
    """

    method: SDTT
    setup: Setup
    teacher: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.teacher = copied(self.setup.teacher)

    def networks(self) -> Mapping[str, nn.Module]:
        return {"student": self.setup.student, "teacher": self.teacher}

    def frozen(self) -> Sequence[nn.Module]:
        return ()

    def phases(self) -> Sequence[Phase]:
        return (Phase(network="student", loss=self._loss, held_out=False),)

    def after_update(self, network: str, step: int) -> None:
        if self.round_of(step + 1) != self.round_of(step):
            update_target(self.teacher, self.setup.student, 0.0)

    def round_of(self, step: int) -> int:
        """The round of a training step; rounds are equally long.

        Args:
            step: Number of the training step, from 0.

        Returns:
            The number of the round, from 0.
        """
        return min(step * self.method.rounds // self.setup.training.steps, self.method.rounds - 1)

    def _loss(self, batch: Batch, rng: Random) -> Tensor:
        setup, x0, student = self.setup, batch.x0, self.setup.student
        finest = replace(setup.grid, steps=setup.grid.steps * PARTS ** (self.method.rounds - self.round_of(batch.step)))
        condition = setup.drawn(batch.condition, len(x0), rng, x0.device)
        times = grid_step(finest, PARTS, student.process, len(x0), rng, x0.device)
        x_t, where = corrupted(student, x0, times[0], condition, setup.padding, rng)
        log_target = rollout_target(self.teacher, x_t, where, times, condition, rng)[where]
        log_belief = student.logits_at(x_t, where, times[0], condition).log_probabilities
        return row_divergence(log_target, log_belief, where)


@torch.no_grad()
def rollout_target(
    teacher: Any,
    x_t: Int64[Tensor, "rows *shape"],
    where: Bool[Tensor, "rows *shape"],
    times: Sequence[Float64[Tensor, " rows"]],
    condition: Condition | None,
    rng: Random,
) -> Float[Tensor, "rows *shape vocabulary"]:
    """What the teacher last believed of each open position, in smaller steps of its own.

    Args:
        teacher: The teacher.
        x_t: [rows, *shape], rows at the first of the times.
        where: [rows, *shape], which positions are open.
        times: The times of the steps, each [rows], decreasing. The step to the last one needs no draw.
        condition: What is known of each row.
        rng: Source of randomness.

    Returns:
        [rows, *shape, vocabulary], normalised log-probabilities.
    """
    process = teacher.process
    belief = teacher(x_t, times[0], condition)
    target, x = belief.log_probabilities, x_t
    for t, s in itertools.pairwise(times[:-1]):
        x = torch.where(where, process.bridge(x, belief, t, s, rng), x)
        belief = teacher(x, s, condition)
        still = process.masked(x) if isinstance(process, Mask) else torch.ones_like(where)
        target = torch.where(still[..., None], belief.log_probabilities, target)
    return target
