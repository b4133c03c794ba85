"""Consistency in continuous time: the belief in x_0 does not change along a path (sCM: Lu and Song, 2025).

In straight coordinates the limit of consistency training with small gaps moves D(x_t, t, 0) against its own derivative
along the path: it is regressed onto the constant

    D* = D - u n,      n = g / (|g| + c),      g = strength dD/du + (1 - strength) (D - E) / u

where |g| is the root mean square over dimensions, c = 0.1 (section 4.1, "tangent normalization"), and E is the
teacher's belief, which also gives the path its direction; or x0 itself without a teacher. With D = w - u F and the
velocity v = (w - E) / u, the derivative is dD/du = (v - F) - u dF/du. Its second part is the unstable one. It is scaled
by the strength, which rises from 0 to 1 ("tangent warmup"). At strength 0, D is regressed onto E as in diffusion.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.distill.distillation import Distillation, Setup, check_unguided_from_scratch, no_grad_mean
from unmelt.distill.jump_times import JumpTimes
from unmelt.distill.straight_path import derivative_along_path, straight_time
from unmelt.distill.student import flow_map_of
from unmelt.distill.student_step import StudentStep
from unmelt.errors import UsageError
from unmelt.process.gaussian import expand_like
from unmelt.rng import Random
from unmelt.sampler import Jump, Sampler
from unmelt.train import Training
from unmelt.train.step import Batch

FLOOR = 0.1
"""c above."""


@final
@checked_init("um.distill.ContinuousConsistency")
@dataclass(frozen=True, kw_only=True)
class ContinuousConsistency(Distillation):
    """Jumps to the data, learned by their derivative along the path. Each further sampling step adds fresh noise.

    Args:
        times: The times t that are practised; of each pair, s does not matter.
        warmup: Share of the training over which the strength of the tangent rises from 0 to 1.
        from_scratch: Learn from data alone; the teacher gives its network, but neither weights nor beliefs.
        training_steps: Training steps, if the call does not say.
        lr: Peak learning rate, if the call does not say. None: the teacher's.

    Raises:
        UsageError: If the warm-up is not from 0 to 1.
    """

    KIND: ClassVar = "numbers"

    times: JumpTimes = JumpTimes(to_data=1.0, still=0.0)
    warmup: float = 0.25
    from_scratch: bool = False
    training_steps: int = 600
    lr: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= 1:
            raise UsageError(
                f"ContinuousConsistency with warmup={self.warmup}",
                "a share of the training, from 0 to 1",
                "ContinuousConsistency(warmup=0.25)",
            )

    @property
    def needs_teacher(self) -> bool:
        return not self.from_scratch

    def student(self, teacher: nn.Module, guidance_range: Sequence[float] | None) -> nn.Module:
        check_unguided_from_scratch(self, self.from_scratch, guidance_range)
        return flow_map_of(teacher, guidance_range, is_denoiser=False, fresh=self.from_scratch)

    def sampler(self) -> Sampler:
        return Jump(eta=1.0)

    def training(self, teacher: Training) -> Training:
        return replace(teacher, steps=self.training_steps, lr=teacher.lr if self.lr is None else self.lr)

    def strength_at(self, step: int, steps: int) -> float:
        """The strength of the tangent.

        Args:
            step: Number of the training step, counted from 0.
            steps: Training steps in all.

        Returns:
            0 at first, 1 once a share `warmup` of the steps is done.
        """
        return min(1.0, step / (self.warmup * steps)) if self.warmup else 1.0

    def train_step(self, setup: Setup) -> StudentStep:
        def loss(batch: Batch, rng: Random, _: Any) -> Tensor:
            x0, student = batch.x0, setup.student
            condition = setup.drawn(batch.condition, len(x0), rng, x0.device)
            t, _s = self.times.draw(len(x0), student.process, rng, x0.device)
            x_t, _noise = student.process.corrupt(x0, t, rng)
            belief = x0 if self.from_scratch else no_grad_mean(setup.guided_teacher, x_t, t, condition)
            strength = self.strength_at(batch.step, setup.training.steps)
            return self.row_loss(student, x_t, t, condition, belief, strength)

        return StudentStep(setup.student, loss, None if self.from_scratch else setup.teacher)

    def row_loss(
        self,
        student: Any,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        condition: Condition | None,
        direction: Float[Tensor, "rows *shape"],
        strength: float = 1.0,
    ) -> Float[Tensor, " rows"]:
        """The loss of each row, at most 1; its gradient is what counts.

        Args:
            student: The flow map.
            x_t: [rows, *shape], data at time t.
            t: [rows], times above 0.
            condition: What is known of each row.
            direction: E above.
            strength: Strength of the tangent, from 0 to 1.

        Returns:
            [rows].
        """
        u = expand_like(straight_time(student.process, t), x_t)
        belief, slope = derivative_along_path(student, x_t, t, torch.zeros_like(t), condition, direction)
        tangent = strength * slope + (1 - strength) * (belief.detach() - direction) / u
        size = tangent.square().flatten(1).mean(1).sqrt()
        wanted = belief.detach() - u * tangent / expand_like(size + FLOOR, x_t)
        return ((belief - wanted) / u).square().flatten(1).mean(1)
