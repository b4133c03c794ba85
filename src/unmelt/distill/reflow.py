"""Reflow: straighten the paths of a teacher by learning from its own pairs of noise and sample (Liu et al., 2022).

A pair is noise x_1 and the sample x_0 that the teacher's probability-flow ODE makes of it. In straight coordinates the
two are joined by a line, on which

    x_t = alpha_t x_0 + sigma_t z,      z = (x_1 - alpha_1 x_0) / sigma_1

and the student's jump from any t to any s is to have the belief x_0:

    minimise E |(D(x_t, t, s) - x_0) / u_t|^2,      so that D = E[x_0 | x_t] among the pairs

(their equation 1, in beliefs: the velocity of the line is (w_t - x_0) / u_t). Jumps are then steps of Euler's method on
the rectified flow, whose paths are nearly straight. From t = 1 a jump to the data is the teacher's sample itself, since
there x_t = x_1 tells x_0: its distillation is learned in the same regression.

Pairs are made anew for each batch, from the step's randomness: no set of pairs is stored or wears out. One round is one
student. For the next round, distil the student: it is a denoiser, whose flow makes the pairs.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.distill.adaptive_loss import adaptive_loss
from unmelt.distill.distillation import Distillation, Setup
from unmelt.distill.jump_times import JumpTimes
from unmelt.distill.straight_path import straight_time
from unmelt.distill.student import flow_map_of
from unmelt.distill.student_step import StudentStep
from unmelt.errors import UsageError
from unmelt.process.gaussian import expand_like
from unmelt.rng import Random, RowSeeds
from unmelt.sampler import Adams, Grid, Jump, Sampler, walk
from unmelt.train import Training
from unmelt.train.step import Batch

SEEDS = 2.0**53
"""Number of seeds of a sampler's own noise, which a uniform number in float64 can tell apart."""


@final
@checked_init("um.distill.Reflow")
@dataclass(frozen=True, kw_only=True)
class Reflow(Distillation):
    """Straight lines between the teacher's noise and samples. Any number of steps from one student.

    Args:
        teacher_steps: Steps that the teacher takes to make a sample, on the spacing of the student's grid.
        teacher_sampler: How it takes them; deterministic, so that noise tells its sample.
        uses: How many jumps are practised on each pair.
        times: Which jumps are practised.
        training_steps: Training steps, if the call does not say.
        lr: Peak learning rate, if the call does not say.

    Raises:
        UsageError: If `teacher_steps` or `uses` is not positive.
    """

    KIND: ClassVar = "numbers"

    teacher_steps: int = 8
    teacher_sampler: Sampler = Adams()
    uses: int = 2
    times: JumpTimes = JumpTimes(from_noise=0.5)
    training_steps: int = 1000
    lr: float = 4e-3

    def __post_init__(self) -> None:
        for name in ("teacher_steps", "uses"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"Reflow with {name}={getattr(self, name)}",
                    "a whole number of at least 1",
                    f"Reflow({name}={getattr(type(self), name)})",
                )

    @property
    def needs_teacher(self) -> bool:
        return True

    def student(self, teacher: nn.Module, guidance_range: Sequence[float] | None) -> nn.Module:
        return flow_map_of(teacher, guidance_range, is_denoiser=True)

    def sampler(self) -> Sampler:
        return Jump()

    def training(self, teacher: Training) -> Training:
        return replace(teacher, steps=self.training_steps, lr=self.lr)

    def train_step(self, setup: Setup) -> StudentStep:
        grid = replace(setup.grid, steps=self.teacher_steps)

        def loss(batch: Batch, rng: Random, _: Any) -> Tensor:
            rows, device = len(batch.x0), batch.x0.device
            condition = setup.drawn(batch.condition, rows, rng, device)
            x_1, x_0 = pairs(setup.guided_teacher, self.teacher_sampler, grid, batch.x0, condition, rng)
            losses = []
            for _use in range(self.uses):
                t, s = self.times.draw(rows, setup.student.process, rng, device)
                losses.append(row_loss(setup.student, x_1, x_0, t, s, condition))
            return torch.stack(losses).mean(0)

        return StudentStep(setup.student, loss, setup.teacher)


@torch.no_grad()
def pairs(
    teacher: Any,
    sampler: Sampler,
    grid: Grid,
    like: Float[Tensor, "rows *shape"],
    condition: Condition | None,
    rng: Random,
) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, "rows *shape"]]:
    """Noise and the samples that a teacher makes of it.

    Args:
        teacher: A denoiser.
        sampler: How it is sampled.
        grid: The times that are visited.
        like: [rows, *shape], data whose shape, precision and device the pairs have.
        condition: What is known of each row.
        rng: Source of randomness.

    Returns:
        (x_1, x_0), both [rows, *shape].
    """
    rows, device = len(like), like.device
    x_1 = teacher.process.prior(like.shape, rng, like.dtype, device)
    seeds = (rng.uniform((rows,), torch.float64) * SEEDS).long().cpu()
    start, *times = (time.expand(rows) for time in grid(teacher.process.schedule).to(device).unbind())
    state = sampler.init(teacher, x_1, start, RowSeeds.of(seeds.tolist(), rows), condition)
    return x_1, deque(walk(teacher, sampler, state, times), maxlen=1).pop().x


def row_loss(
    student: Any,
    x_1: Float[Tensor, "rows *shape"],
    x_0: Float[Tensor, "rows *shape"],
    t: Float[Tensor, " rows"],
    s: Float[Tensor, " rows"],
    condition: Condition | None,
) -> Float[Tensor, " rows"]:
    """The loss of each row's jump from a point of the line between its pair.

    Args:
        student: The flow map.
        x_1: [rows, *shape], noise at t = 1.
        x_0: [rows, *shape], the teacher's sample.
        t: [rows], times above 0.
        s: [rows], times to arrive at, s <= t.
        condition: What is known of each row.

    Returns:
        [rows].
    """
    process = student.process
    x_t = process.mix(x_0, process.noise(x_1, x_0, torch.ones_like(t)), t)
    error = student.jump(x_t, t, s, condition).mean - x_0
    return adaptive_loss(error / expand_like(straight_time(process, t), x_t), power=0.0)
