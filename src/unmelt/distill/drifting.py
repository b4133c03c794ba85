"""Drifting: a one-step generator whose samples are moved, in training, towards data and away from one another.

Deng et al., 2026, "Generative Modeling via Drifting" (arXiv 2602.04770). A sample x is drawn to real rows y+ and pushed
from generated rows y-:

    V(x) = sum over y+, y- of w(x, y+) w(x, y-) (y+ - y-),      k(x, y) = exp(-|x - y| / tau)
    w(x, y) = k(x, y) / sqrt(sum over all y' of k(x, y') times sum over all x' of k(x', y))

(algorithm 2: affinities normalised over both axes, the geometric mean of the two softmaxes). V changes its sign when
real and generated rows change places, so that it vanishes where the two laws are the same. The loss moves the generator
along V, which is a constant in it:

    |f(x) - stopgrad(f(x) + sum over tau of V_tau / rms(V_tau))|^2      with f(x) = x / scale

The scale is the mean distance between rows over sqrt(dimensions), by which each dimension differs by about 1 and one
set of temperatures serves all data (equations 20 to 26).

No belief of a teacher is needed: data and noise are enough. Only rows of the same class drift among one another. A
student of more than one step jumps to the data from every time of its grid, and between two jumps its sampler adds
fresh noise. The rows of one training step all begin at one time, and those of the next step at the next time: were a
batch shared out among the times, each class would have too few rows to drift among. Where a batch is divided among
processes or parts, rows drift among those of their own part.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.condition import DROPPABLE, Condition
from unmelt.distill.distillation import Distillation, Setup
from unmelt.distill.student import flow_map_of
from unmelt.distill.student_step import StudentStep
from unmelt.errors import UsageError
from unmelt.process.gaussian import expand_like
from unmelt.rng import Random
from unmelt.sampler import Jump, Sampler
from unmelt.train import Training
from unmelt.train.step import Batch

LEAST_SQUARE = 1e-20
"""Added to the mean square of a drift, which is 0 where nothing is left to move."""


@final
@checked_init("um.distill.Drifting")
@dataclass(frozen=True, kw_only=True)
class Drifting(Distillation):
    """A generator that learns from data alone, by drifts towards real and away from generated rows.

    Args:
        temperatures: tau above, in units of the mean distance between rows.
        from_scratch: Begin with initial weights in place of the teacher's.
        batch: Rows of a training step, if the call does not say. Each class needs many.
        training_steps: Training steps, if the call does not say.
        lr: Peak learning rate, if the call does not say.

    Raises:
        UsageError: If there is no temperature, or one is not positive.
    """

    KIND: ClassVar = "numbers"

    temperatures: tuple[float, ...] = (0.05, 0.2, 0.8)
    from_scratch: bool = False
    batch: int = 384
    training_steps: int = 1000
    lr: float = 4e-3

    def __post_init__(self) -> None:
        if not self.temperatures or not all(0 < each < math.inf for each in self.temperatures):
            raise UsageError(
                f"Drifting with temperatures={self.temperatures}",
                "at least one positive number",
                "Drifting(temperatures=(0.05, 0.2, 0.8))",
            )

    @property
    def needs_teacher(self) -> bool:
        return not self.from_scratch

    def student(self, teacher: nn.Module, guidance_range: Sequence[float] | None) -> nn.Module:
        if guidance_range is not None:
            raise UsageError(
                f"guidance_range={tuple(guidance_range)} of Drifting, which learns from data without guidance",
                "no range",
                "guidance_range=None",
            )
        return flow_map_of(teacher, None, is_denoiser=False, fresh=self.from_scratch)

    def sampler(self) -> Sampler:
        return Jump(eta=1.0)

    def training(self, teacher: Training) -> Training:
        return replace(teacher, steps=self.training_steps, batch=self.batch, lr=self.lr)

    def train_step(self, setup: Setup) -> StudentStep:
        process = setup.student.process
        starts = setup.grid(process.schedule)[:-1]

        def loss(batch: Batch, rng: Random, _: Any) -> Tensor:
            x0 = batch.x0
            condition = setup.drawn(batch.condition, len(x0), rng, x0.device)
            t = starts[batch.step % len(starts)].to(x0.device).expand(len(x0))
            noise = rng.normal(x0.shape, x0.dtype, x0.device)
            x_t = process.mix(expand_like((t < 1).to(x0.dtype), x0) * x0, noise, t)  # at t = 1 the prior's
            to_data = torch.zeros_like(t)
            belief = setup.student.jump(x_t, t, to_data, condition).mean
            made = process.ode_step(x_t, belief, t, to_data)
            return self.row_loss(made, x0, groups(condition, len(x0)).to(x0.device))

        return StudentStep(setup.student, loss)

    def row_loss(
        self, made: Float[Tensor, "rows *shape"], real: Float[Tensor, "rows *shape"], group: Int64[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """The loss of each generated row.

        Args:
            made: [rows, *shape], generated rows.
            real: [rows, *shape], real rows, those of the same classes.
            group: [rows], the number of each row's group, within which rows drift.

        Returns:
            [rows].
        """
        own, dimensions = list(members(group)), made[0].numel()
        with torch.autocast(made.device.type, enabled=False):
            made, real = made.flatten(1), real.flatten(1)
            if not own:
                return 0 * made.sum(1)
            with torch.no_grad():
                apart = torch.cat([torch.cdist(made[rows], real[rows]).flatten() for rows in own]).mean()
                scale, moves = apart / math.sqrt(dimensions), torch.zeros_like(made)
                for temperature in self.temperatures:
                    move = torch.zeros_like(made)
                    for rows in own:
                        move[rows] = drift(made[rows], real[rows], made[rows], temperature * apart, others=True)
                    moves += move * torch.rsqrt(move.square().mean() + LEAST_SQUARE)
                target = made / scale + moves
            return (made / scale - target).square().mean(1)


def groups(condition: Condition | None, rows: int) -> Int64[Tensor, " rows"]:
    """The group of each row: rows of one class, or of none.

    Args:
        condition: What is known of each row.
        rows: How many rows there are.

    Returns:
        [rows], the class; -1 where there is none.

    Raises:
        UsageError: If more is known of a row than its class.
    """
    known = [] if condition is None else [name for name in DROPPABLE[1:] if getattr(condition, name) is not None]
    if more := [*known, *(() if condition is None else condition.extra)]:
        raise UsageError(
            f"Drifting with a {more[0]} for each row, of which no two are alike",
            "rows that have a class, or nothing at all",
            "um.distill.MeanFlow()",
        )
    if condition is None or condition.label is None:
        return torch.full((rows,), -1)
    given = condition.is_given("label")
    return condition.label if given is None else torch.where(given, condition.label, -1)


def members(group: Int64[Tensor, " rows"]) -> Iterator[Int64[Tensor, " own"]]:
    """The rows of each group that has more than one.

    Args:
        group: [rows], the number of each row's group.

    Yields:
        The indices of the rows of one group.
    """
    for value in group.unique():
        rows = (group == value).nonzero()[:, 0]
        if len(rows) > 1:
            yield rows


def drift(
    x: Float[Tensor, "rows dim"],
    real: Float[Tensor, "real dim"],
    made: Float[Tensor, "made dim"],
    tau: Float[Tensor, ""] | float,
    others: bool = False,
) -> Float[Tensor, "rows dim"]:
    """V above: where each row is to move.

    Args:
        x: [rows, dim], the rows.
        real: [real, dim], real rows, y+.
        made: [made, dim], generated rows, y-.
        tau: Temperature, in units of x.
        others: Whether `made` is x itself, each row of which is pushed only by the others.

    Returns:
        [rows, dim].
    """
    distance = torch.cdist(x, torch.cat([real, made]))
    if others:
        distance[:, len(real) :].fill_diagonal_(math.inf)
    log_k = -distance / tau
    weight = ((log_k.log_softmax(1) + log_k.log_softmax(0)) / 2).exp()
    to_real, to_made = weight.split([len(real), len(made)], 1)
    return (to_real * to_made.sum(1, True)) @ real - (to_made * to_real.sum(1, True)) @ made
