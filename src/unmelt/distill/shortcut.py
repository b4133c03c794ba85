"""Shortcut models: one jump equals two half jumps (Frans et al., 2025).

With m halfway between t and s in straight coordinates, u_m = (u_t + u_s) / 2, the half jumps

    D_1 = D(x_t, t, m),      x_m = ode_step(x_t, D_1, t, m),      D_2 = D(x_m, m, s)

arrive where one jump from t to s with the belief

    D* = D_1 + u_t / (u_t + u_s) (D_2 - D_1)

arrives: in average velocities, V* = (V_1 + V_2) / 2 (equation 4). The half jumps are made by a moving average of the
student, without a graph. A share of the rows does not move (s = t) and learns the belief E of the denoiser in its
place, from the teacher, or from x0 without a teacher (flow matching, equation 5). No derivative is needed.
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
from unmelt.distill.mean_flow import own_beliefs
from unmelt.distill.straight_path import schedule_time, straight_time
from unmelt.distill.student import flow_map_of
from unmelt.distill.student_step import StudentStep
from unmelt.errors import UsageError
from unmelt.process.gaussian import expand_like
from unmelt.rng import Random
from unmelt.sampler import Jump, Sampler
from unmelt.train import Training
from unmelt.train.step import Batch


@final
@checked_init("um.distill.Shortcut")
@dataclass(frozen=True, kw_only=True)
class Shortcut(Distillation):
    """Jumps learned from two of half the length. Any number of steps from one student.

    Args:
        times: Which jumps are practised; some must stay where they are, and learn the belief.
        power: Exponent of the adaptive weight; 1 gives every row the same weight.
        decay: Decay per step of the moving average that makes the half jumps.
        from_scratch: Learn from data alone; the teacher gives its network, but neither weights nor beliefs.
        training_steps: Training steps, if the call does not say.
        lr: Peak learning rate, if the call does not say. None: the teacher's.

    Raises:
        UsageError: If no jump stays where it is, or the decay is not from 0 to below 1.
    """

    KIND: ClassVar = "numbers"

    times: JumpTimes = JumpTimes()
    power: float = 0.5
    decay: float = 0.95
    from_scratch: bool = False
    training_steps: int = 800
    lr: float | None = None

    def __post_init__(self) -> None:
        if not (self.times.still > 0 and 0 <= self.decay < 1):
            raise UsageError(
                f"Shortcut with times.still={self.times.still} and decay={self.decay}",
                "rows that learn the belief, and a decay of at least 0 and below 1",
                "Shortcut(times=um.distill.JumpTimes(still=0.25), decay=0.95)",
            )

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
        def loss(batch: Batch, rng: Random, target: Any) -> Tensor:
            x0, student = batch.x0, setup.student
            condition = setup.drawn(batch.condition, len(x0), rng, x0.device)
            t, s = self.times.draw(len(x0), student.process, rng, x0.device)
            x_t, _ = student.process.corrupt(x0, t, rng)
            if self.from_scratch:
                belief, _ = own_beliefs(target, x0, x_t, t, condition)
            else:
                belief = no_grad_mean(setup.guided_teacher, x_t, t, condition)
            return self.row_loss(student, target, x_t, t, s, condition, belief)

        return StudentStep(setup.student, loss, None if self.from_scratch else setup.teacher, self.decay)

    def row_loss(
        self,
        student: Any,
        target: Any,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        s: Float[Tensor, " rows"],
        condition: Condition | None,
        belief: Float[Tensor, "rows *shape"],
    ) -> Float[Tensor, " rows"]:
        """The loss of each row's jump.

        Args:
            student: The flow map.
            target: The flow map that makes the half jumps.
            x_t: [rows, *shape], data at time t.
            t: [rows], times above 0.
            s: [rows], times to arrive at, s <= t.
            condition: What is known of each row.
            belief: E above, for rows with s = t.

        Returns:
            [rows].
        """
        halves = two_half_jumps(target, x_t, t, s, condition)
        wanted = torch.where(expand_like(t - s, x_t) == 0, belief, halves)
        error = student.jump(x_t, t, s, condition).mean - wanted
        return adaptive_loss(error / expand_like(straight_time(student.process, t), x_t), self.power)


@torch.no_grad()
def two_half_jumps(
    flow_map: Any,
    x_t: Float[Tensor, "rows *shape"],
    t: Float[Tensor, " rows"],
    s: Float[Tensor, " rows"],
    condition: Condition | None,
) -> Float[Tensor, "rows *shape"]:
    """The belief whose jump from t to s arrives where two half jumps do. Two network calls.

    Args:
        flow_map: What makes the half jumps.
        x_t: [rows, *shape], data at time t.
        t: [rows], times above 0.
        s: [rows], times to arrive at, s <= t.
        condition: What is known of each row.

    Returns:
        [rows, *shape], D* above.
    """
    process = flow_map.process
    u_t, u_s = straight_time(process, t), straight_time(process, s)
    m = torch.maximum(torch.minimum(schedule_time(process, (u_t + u_s) / 2), t), s)
    first = flow_map.jump(x_t, t, m, condition).mean
    x_m = process.ode_step(x_t, first, t, m)
    second = flow_map.jump(x_m, m, s, condition).mean
    return torch.lerp(first, second, expand_like(u_t / (u_t + u_s), x_t))
