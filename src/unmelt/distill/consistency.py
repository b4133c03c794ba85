"""Consistency models: wherever one stands on a path of the ODE, the same x_0 is believed (Song et al., 2023).

Of two points of one path, the belief at the noisier one is regressed onto the belief at the other, as a constant:

    D(x_t, t, 0)  towards  D(x_r, r, 0),      r < t,      D(x_0, 0, 0) = x_0

    x_r = ode_step(x_t, E, t, r)

where E is the teacher's belief (consistency distillation), or x0 itself without a teacher, which melts x0 to r with the
same noise (consistency training: Song and Dhariwal, 2024). The gap between the two points shrinks over training (easy
consistency tuning: Geng et al., 2024, section 3),

    u_r = (1 - gap) u_t,      gap from 1 down to a small one, geometrically in the number of the step,

with u the noise's share of `straight_path.py`. At gap 1 the loss is that of diffusion, D towards E, which the student
has already learned. The error is divided by u_t - u_r: it is a slope along the path, of the same size at every gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.distill.adaptive_loss import adaptive_loss
from unmelt.distill.distillation import Distillation, Setup, check_unguided_from_scratch, no_grad_mean
from unmelt.distill.jump_times import JumpTimes
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
@checked_init("um.distill.Consistency")
@dataclass(frozen=True, kw_only=True)
class Consistency(Distillation):
    """Jumps to the data, learned by small steps along the path. Each further sampling step adds fresh noise.

    Args:
        times: The times t that are practised; of each pair, s does not matter.
        gap: The last gap between the two points, as a share of u_t.
        easing: Share of the training over which the gap shrinks from 1.
        power: Exponent of the adaptive weight; 1 gives every row the same weight.
        from_scratch: Learn from data alone; the teacher gives its network, but neither weights nor beliefs.
        training_steps: Training steps, if the call does not say.
        lr: Peak learning rate, if the call does not say. None: the teacher's.

    Raises:
        UsageError: If gap or easing is not above 0 and at most 1.
    """

    KIND: ClassVar = "numbers"

    times: JumpTimes = JumpTimes(to_data=1.0, still=0.0)
    gap: float = 1 / 64
    easing: float = 1.0
    power: float = 0.5
    from_scratch: bool = False
    training_steps: int = 1000
    lr: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.gap <= 1 and 0 < self.easing <= 1):
            raise UsageError(
                f"Consistency with gap={self.gap} and easing={self.easing}",
                "both above 0 and at most 1",
                "Consistency(gap=1 / 64, easing=1.0)",
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

    def gap_at(self, step: int, steps: int) -> float:
        """The gap between the two points, as a share of u_t.

        Args:
            step: Number of the training step, counted from 0.
            steps: Training steps in all.

        Returns:
            1 at first, `gap` once a share `easing` of the steps is done.
        """
        return self.gap ** min(1.0, step / (self.easing * steps))

    def train_step(self, setup: Setup) -> StudentStep:
        def loss(batch: Batch, rng: Random, _: Any) -> Tensor:
            x0, student = batch.x0, setup.student
            condition = setup.drawn(batch.condition, len(x0), rng, x0.device)
            t, _s = self.times.draw(len(x0), student.process, rng, x0.device)
            x_t, _noise = student.process.corrupt(x0, t, rng)
            belief = x0 if self.from_scratch else no_grad_mean(setup.guided_teacher, x_t, t, condition)
            r = earlier(student.process, t, self.gap_at(batch.step, setup.training.steps))
            x_r = student.process.ode_step(x_t, belief, t, r)
            return self.row_loss(student, x_t, t, x_r, r, condition)

        return StudentStep(setup.student, loss, None if self.from_scratch else setup.teacher)

    def row_loss(
        self,
        student: Any,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        x_r: Float[Tensor, "rows *shape"],
        r: Float[Tensor, " rows"],
        condition: Condition | None,
    ) -> Float[Tensor, " rows"]:
        """The loss of each row's pair of points.

        Args:
            student: The flow map.
            x_t: [rows, *shape], data at time t.
            t: [rows], times above 0.
            x_r: [rows, *shape], the point at time r of the path through x_t.
            r: [rows], times below t.
            condition: What is known of each row.

        Returns:
            [rows].
        """
        data = torch.zeros_like(t)
        with torch.no_grad():
            wanted = torch.where(expand_like(r, x_r) == 0, x_r, student.jump(x_r, r, data, condition).mean)
        belief = student.jump(x_t, t, data, condition).mean
        length = straight_time(student.process, t) - straight_time(student.process, r)
        return adaptive_loss((belief - wanted) / expand_like(length, x_t), self.power)


def earlier(process: Any, t: Float64[Tensor, " rows"], gap: float) -> Float64[Tensor, " rows"]:
    """The time r at which the noise's share is u_r = (1 - gap) u_t.

    Args:
        process: The process.
        t: [rows], times.
        gap: Share of u_t between the two.

    Returns:
        [rows], exactly 0 if the gap is 1.
    """
    return torch.minimum(schedule_time(process, (1 - gap) * straight_time(process, t)), t)
