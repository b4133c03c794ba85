"""The inputs on which a student of several steps is trained: its own, from pure noise down to a time of its grid.

    x_1 ~ prior,      x_(t_k) = k steps of the student's own sampler,      k uniform over the steps of the grid

A student that were trained on data melted to t_k would be asked for jumps that it never makes: when it samples, what
stands at t_k has come out of its own earlier jumps (backward simulation: Yin et al., 2024, section 4.5).
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.distill.distillation import Setup
from unmelt.rng import Random, RowSeeds
from unmelt.sampler import Grid, Sampler, advance
from unmelt.train.step import Batch


class Start(NamedTuple):
    """Where jumps of a student begin.

    Args:
        x_t: [rows, *shape], constants.
        t: [rows], times of the grid.
    """

    x_t: Float[Tensor, "rows *shape"]
    t: Float64[Tensor, " rows"]


@torch.no_grad()
def rollout(
    student: Any, sampler: Sampler, grid: Grid, like: Tensor, condition: Condition | None, rng: Random, turn: int
) -> Start:
    """Run the student from pure noise over the first steps of its grid, a number of steps of its own for each row.

    Row b of the whole batch takes (b + turn) modulo n of the grid's n steps, so that every number of steps is equally
    frequent. Rows that have arrived cost nothing.

    Args:
        student: The student's denoiser.
        sampler: The sampler that it will be used with.
        grid: The times that it visits.
        like: [rows, *shape], a batch of the shape, precision and device wanted. Its values are not used.
        condition: What is known of each row.
        rng: Source of randomness.
        turn: Number of the training step.

    Returns:
        The rows as they stand after that many steps.
    """
    rows, process = len(like), student.process
    first, _ = rng.batch_position(rows)
    taken = (first + turn + torch.arange(rows, device=like.device)) % grid.steps
    seeds = RowSeeds.of((rng.uniform((rows,), torch.float64) * 2**53).long().tolist(), rows)
    x = process.prior(like.shape, rng, like.dtype, like.device)
    times = grid(process.schedule).to(like.device)
    state = sampler.init(student, x, times[0].expand(rows), seeds, condition)
    for number in range(1, grid.steps):
        state = advance(student, sampler, state, torch.where(taken >= number, times[number], state.t))
    return Start(state.x, state.t)


def student_sample(setup: Setup, sampler: Sampler, batch: Batch, rng: Random) -> tuple[Tensor, Condition | None]:
    """What the student makes, with its graph, of the inputs of `rollout`.

    Args:
        setup: Student and grid.
        sampler: The sampler that it will be used with.
        batch: A batch, of which only the shape and the condition count.
        rng: Source of randomness.

    Returns:
        x0, [rows, *shape], and the condition that each row was made for.
    """
    x0, student = batch.x0, setup.student
    condition = setup.drawn(batch.condition, len(x0), rng, x0.device)
    x_t, t = rollout(student, sampler, setup.grid, x0, condition, rng, batch.step)
    return student.jump(x_t, t, torch.zeros_like(t), condition).mean, condition
