"""MeanFlow: the average velocity of a jump, learned from the instantaneous one (Geng et al., 2025).

In straight coordinates the average velocity V over a jump from u_t to u_s and the velocity v at u_t satisfy

    V + (u_t - u_s) dV/du_t = v,      dV/du_t along the path at fixed s

The improved form (Geng et al., 2025b) reads this as a prediction of v: the left side, with the derivative as a
constant, is regressed onto v. In beliefs, V = (w - D) / u_t and v = (w - E) / u_t, that is a regression of D onto

    D* = E + (u_t - u_s) ((D - E') / u_t - dD/du_t)

where E is the teacher's belief, or x0 itself without a teacher; and E', which gives the path its direction, is the
teacher's belief, or the student's own at s = t. Guidance is learned with its scale as an input: E and E' are guided.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.distill.adaptive_loss import adaptive_loss
from unmelt.distill.distillation import Distillation, Setup, no_grad_mean
from unmelt.distill.jump_times import JumpTimes
from unmelt.distill.straight_path import derivative_along_path, straight_time
from unmelt.distill.student import flow_map_of
from unmelt.distill.student_step import StudentStep
from unmelt.process.gaussian import expand_like
from unmelt.rng import Random
from unmelt.sampler import Jump, Sampler
from unmelt.train import Training
from unmelt.train.step import Batch


@final
@checked_init("um.distill.MeanFlow")
@dataclass(frozen=True, kw_only=True)
class MeanFlow(Distillation):
    """Average velocities, by their derivative along the path. Any number of steps from one student.

    Args:
        times: Which jumps are practised.
        power: Exponent of the adaptive weight; 1 gives every row the same weight.
        from_scratch: Learn from data alone; the teacher gives its network, but neither weights nor beliefs.
        training_steps: Training steps, if the call does not say.
        lr: Peak learning rate, if the call does not say. None: the teacher's.
    """

    KIND: ClassVar = "numbers"

    times: JumpTimes = JumpTimes()
    power: float = 0.5
    from_scratch: bool = False
    training_steps: int = 600
    lr: float | None = None

    @property
    def needs_teacher(self) -> bool:
        return not self.from_scratch

    def student(self, teacher: nn.Module, guidance_range: Sequence[float] | None) -> nn.Module:
        return flow_map_of(teacher, guidance_range, is_denoiser=True, fresh=self.from_scratch)

    def sampler(self) -> Sampler:
        return Jump()

    def training(self, teacher: Training) -> Training:
        return replace(teacher, steps=self.training_steps, lr=teacher.lr if self.lr is None else self.lr)

    def train_step(self, setup: Setup) -> StudentStep:
        def loss(batch: Batch, rng: Random, _: Any) -> Tensor:
            x0, student = batch.x0, setup.student
            condition = setup.drawn(batch.condition, len(x0), rng, x0.device)
            t, s = self.times.draw(len(x0), student.process, rng, x0.device)
            x_t, _ = student.process.corrupt(x0, t, rng)
            if self.from_scratch:
                target, direction = own_beliefs(student, x0, x_t, t, condition)
            else:
                target = direction = no_grad_mean(setup.guided_teacher, x_t, t, condition)
            return self.row_loss(student, x_t, t, s, condition, target, direction)

        return StudentStep(setup.student, loss, None if self.from_scratch else setup.teacher)

    def row_loss(
        self,
        student: Any,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        s: Float[Tensor, " rows"],
        condition: Condition | None,
        target: Float[Tensor, "rows *shape"],
        direction: Float[Tensor, "rows *shape"],
    ) -> Float[Tensor, " rows"]:
        """The loss of each row's jump.

        Args:
            student: The flow map.
            x_t: [rows, *shape], data at time t.
            t: [rows], times above 0.
            s: [rows], times to arrive at, s <= t.
            condition: What is known of each row.
            target: E above.
            direction: E' above.

        Returns:
            [rows].
        """
        u_t, u_s = (expand_like(straight_time(student.process, each), x_t) for each in (t, s))
        belief, slope = derivative_along_path(student, x_t, t, s, condition, direction)
        wanted = target + (u_t - u_s) * ((belief.detach() - direction) / u_t - slope)
        return adaptive_loss((belief - wanted) / u_t, self.power)


@torch.no_grad()
def own_beliefs(
    student: Any, x0: Tensor, x_t: Tensor, t: Tensor, condition: Condition | None
) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, "rows *shape"]]:
    """Target and direction without a teacher: x0, and the student's own belief, both guided by the row's scale.

        target = x0 + (scale - 1) (E_cond - E_null),      direction = the student's belief at this scale

    with E_cond and E_null the student's unguided beliefs. The mean of the target is the guided belief.

    Args:
        student: The flow map.
        x0: [rows, *shape], clean data.
        x_t: [rows, *shape], data at time t.
        t: [rows], times.
        condition: What is known of each row.

    Returns:
        (target, direction), both [rows, *shape].
    """
    direction: Tensor = student(x_t, t, condition).mean
    if condition is None or condition.guidance_scale is None:
        return x0, direction
    plain = replace(condition, guidance_scale=None)
    lift = student(x_t, t, plain).mean - student(x_t, t, plain.null()).mean
    return x0 + expand_like(condition.guidance_scale - 1, x0) * lift, direction
