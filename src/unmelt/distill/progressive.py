"""Progressive distillation: a student learns to do in one jump what its teacher does in two, and becomes the teacher.

Salimans and Ho, 2022, "Progressive Distillation for Fast Sampling of Diffusion Models". A stage's teacher goes from t
over m to s with the beliefs D_1 = D(x_t, t, m) and D_2 = D(x_m, m, s). Since x / sigma is a straight line in
r = alpha / sigma as long as the belief holds still, the one belief that leads from x_t to the same x_s is their mean

    D* = w D_1 + (1 - w) D_2,      w = (r_m - r_t) / (r_s - r_t) = sigma_s (r_m - r_t) / (alpha_s - sigma_s r_t)

(algorithm 2, written out). The grid of the last stage is the student's; those before it halve its steps once for each
stage. In each the learning rate falls to 0, since the noise of a high one would be handed on to all stages after it.

The first teacher is the denoiser that is distilled, with steps of DDIM; it alone is guided. Later ones are the student
as it was at the end of the stage before, which knows guidance already: to guide it again would square the scale.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.distill.adaptive_loss import adaptive_loss
from unmelt.distill.distillation import Distillation, Setup
from unmelt.distill.straight_path import schedule_time, straight_time
from unmelt.distill.student import flow_map_of
from unmelt.errors import UsageError
from unmelt.process.gaussian import Gaussian, expand_like
from unmelt.rng import Random
from unmelt.sampler import Grid, Jump, Sampler
from unmelt.train import Phase, Training, update_target
from unmelt.train.lr_schedule import CosineRestarts
from unmelt.train.step import Batch

MOST_STAGES = 12
"""Largest number of stages; the first teacher of a student of one step then takes 4096."""


Beliefs = Callable[[Tensor, Tensor, Tensor, Condition | None], Tensor]
"""(x_t, t, s, condition) -> the belief with which a teacher's `process.ode_step` goes from t to s, [rows, *shape]."""


@final
@checked_init("um.distill.Progressive")
@dataclass(frozen=True, kw_only=True)
class Progressive(Distillation):
    """Two jumps in one, stage by stage. The student has the number of steps that it was made for, and no other.

    Args:
        stages: How often the steps are halved: the first teacher takes 2^stages times as many as the student.
        growth: Length of each stage in units of the one before it. The last stages have the most to learn.
        power: Exponent of the adaptive weight; 1 gives every row the same weight.
        decay: Decay per step of the student's moving average, which is the teacher of the next stage.
        training_steps: Training steps of all stages together, if the call does not say.
        lr: Peak learning rate, if the call does not say. None: twice the teacher's.

    Raises:
        UsageError: If `stages` is not a whole number from 1 to 12, `growth` is not positive, or `decay` is not at least
            0 and below 1.
    """

    KIND: ClassVar = "numbers"

    stages: int = 5
    growth: float = 1.5
    power: float = 0.5
    decay: float = 0.98
    training_steps: int = 1000
    lr: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.stages <= MOST_STAGES:
            raise UsageError(
                f"Progressive with stages={self.stages}",
                f"a whole number from 1 to {MOST_STAGES}",
                "Progressive(stages=5)",
            )
        if not 0 <= self.decay < 1:
            raise UsageError(
                f"Progressive with decay={self.decay}", "a decay of at least 0 and below 1", "Progressive(decay=0.98)"
            )
        self.lr_schedule()

    @property
    def needs_teacher(self) -> bool:
        return True

    def student(self, teacher: nn.Module, guidance_range: Sequence[float] | None) -> nn.Module:
        return flow_map_of(teacher, guidance_range, is_denoiser=False)

    def sampler(self) -> Sampler:
        return Jump()

    def training(self, teacher: Training) -> Training:
        lr = 2 * teacher.lr if self.lr is None else self.lr
        return replace(teacher, steps=self.training_steps, lr=lr, lr_schedule=self.lr_schedule())

    def lr_schedule(self) -> CosineRestarts:
        """The learning rate, which falls to 0 in every stage, and the ends of the stages.

        Returns:
            The schedule.
        """
        return CosineRestarts(cycles=self.stages, growth=self.growth)

    def train_step(self, setup: Setup) -> "ProgressiveStep":
        return ProgressiveStep(self, setup)


@final
class StageTeacher(nn.Module):
    """The student as it was at the end of the stage before, and the number of the stage.

    The number is a buffer, so that a run that is resumed, or made longer, goes on in the stage in which it was.

    Args:
        student: The student.
    """

    stage: Tensor

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.flow_map = copy.deepcopy(student)
        self.register_buffer("stage", torch.zeros((), dtype=torch.int64))


@final
class ProgressiveStep:
    """The student, its moving average, and the teacher of the stage.

    Args:
        method: The settings.
        setup: Teacher, student, grid and number of training steps.
    """

    def __init__(self, method: Progressive, setup: Setup) -> None:
        self.method, self.setup = method, setup
        self.average, self.stage_teacher = copy.deepcopy(setup.student), StageTeacher(setup.student)
        self.ends = method.lr_schedule().ends(setup.training.steps)

    def networks(self) -> Mapping[str, nn.Module]:
        return {"student": self.setup.student, "average": self.average, "stage_teacher": self.stage_teacher}

    def frozen(self) -> Sequence[nn.Module]:
        return (self.setup.teacher,)

    def phases(self) -> Sequence[Phase]:
        return (Phase(network="student", loss=self.loss, held_out=False),)

    def loss(self, batch: Batch, rng: Random) -> Tensor:
        """The loss of each row: a jump of the stage's grid, aimed at where two steps of its teacher arrive.

        Args:
            batch: The rows.
            rng: Source of randomness.

        Returns:
            [rows].
        """
        x0, student, stage = batch.x0, self.setup.student, int(self.stage_teacher.stage)
        condition = self.setup.drawn(batch.condition, len(x0), rng, x0.device)
        times = halved(self.setup.grid, student.process, 2 ** (self.method.stages - stage)).to(x0.device)
        jump = (rng.uniform((len(x0),), torch.float64) * (len(times) // 2)).long().to(x0.device)
        t, m, s = times[2 * jump], times[2 * jump + 1], times[2 * jump + 2]
        x_t, _ = student.process.corrupt(x0, t, rng)
        with torch.no_grad():
            target = two_steps(self.beliefs(stage), student.process, x_t, (t, m, s), condition)
        error = student.jump(x_t, t, s, condition).mean - target
        return adaptive_loss(error / expand_like(straight_time(student.process, t), x_t), self.method.power)

    def beliefs(self, stage: int) -> Beliefs:
        """What the teacher of a stage believes of a step.

        Args:
            stage: Number of the stage, counted from 0.

        Returns:
            The guided denoiser's belief in the first stage, whatever the step; the earlier student's afterwards.
        """

        def first(x_t: Tensor, t: Tensor, s: Tensor, condition: Condition | None) -> Tensor:
            mean: Tensor = self.setup.guided_teacher(x_t, t, condition).mean
            return mean

        def later(x_t: Tensor, t: Tensor, s: Tensor, condition: Condition | None) -> Tensor:
            flow_map: Any = self.stage_teacher.flow_map
            mean: Tensor = flow_map.jump(x_t, t, s, condition).mean
            return mean

        return first if stage == 0 else later

    def after_update(self, network: str, step: int) -> None:
        update_target(self.average, self.setup.student, self.method.decay)
        due = sum(end <= step + 1 for end in self.ends[:-1])
        if due > int(self.stage_teacher.stage):
            update_target(self.stage_teacher.flow_map, self.average, 0.0)
            self.stage_teacher.stage.fill_(due)


def two_steps(
    beliefs: Beliefs,
    process: Gaussian,
    x_t: Float[Tensor, "rows *shape"],
    times: tuple[Float64[Tensor, " rows"], Float64[Tensor, " rows"], Float64[Tensor, " rows"]],
    condition: Condition | None,
) -> Float[Tensor, "rows *shape"]:
    """D*, the belief of one step that arrives where two of the teacher's do.

    Args:
        beliefs: What the teacher believes of a step.
        process: The process.
        x_t: [rows, *shape], data at time t.
        times: t, m and s, each [rows], with t > m > s.
        condition: What is known of each row.

    Returns:
        [rows, *shape].
    """
    t, m, s = times
    first = beliefs(x_t, t, m, condition)
    second = beliefs(process.ode_step(x_t, first, t, m), m, s, condition)
    (alpha_t, sigma_t), (alpha_m, sigma_m), (alpha_s, sigma_s) = (process.level(each) for each in times)
    r_t, r_m = alpha_t / sigma_t, alpha_m / sigma_m
    share = sigma_s * (r_m - r_t) / (alpha_s - sigma_s * r_t)
    return torch.lerp(second, first, expand_like(share, x_t))


def halved(grid: Grid, process: Gaussian, parts: int) -> Float64[Tensor, " times"]:
    """The times of a grid, with each step divided into equal parts of u = sigma / (alpha + sigma).

    Args:
        grid: The grid.
        process: The process.
        parts: Parts of each step.

    Returns:
        [steps * parts + 1], decreasing; every `parts`-th is one of the grid's, bit for bit.
    """
    times = grid(process.schedule)
    u, share = straight_time(process, times), torch.arange(parts, dtype=torch.float64) / parts
    finer = schedule_time(process, (u[:-1, None] + share * u.diff()[:, None]).flatten())
    finer[::parts] = times[:-1]
    return torch.cat([finer, times[-1:]])
