"""What the methods for tokens share: who can be a teacher, rows on their way, and the divergence from its beliefs.

    loss of a row = mean over its open positions of KL(target || belief),      open: those that are to be predicted

Under masks the open positions are the masked ones. Under other processes every position is open, since no token is
certain. Known tokens and padding are never corrupted and never open.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.denoiser import TokenDenoiser
from unmelt.errors import UsageError
from unmelt.objective.counted_tokens import counted
from unmelt.objective.times import Stratified, Uniform
from unmelt.process import Mask
from unmelt.rng import Random
from unmelt.sampler import Grid


def check_teacher(method: str, teacher: nn.Module, guidance_range: Sequence[float] | None) -> TokenDenoiser:
    """Refuse a teacher that a method for tokens cannot learn from.

    Args:
        method: The method's class, for the message.
        teacher: The teacher's denoiser.
        guidance_range: Guidance scales that the student is to learn; methods for tokens learn none.

    Returns:
        The teacher.

    Raises:
        UsageError: If it does not predict all positions from all others, or guidance is asked for.
    """
    if not isinstance(teacher, TokenDenoiser):
        raise UsageError(
            f"{method} of a {type(teacher).__name__}",
            "a teacher that predicts every token from all others at once",
            "um.recipe.code(block=0), or um.denoiser.TokenDenoiser(...)",
        )
    if guidance_range is not None:
        raise UsageError(
            f"{method} with guidance_range={tuple(guidance_range)}",
            "none: a student of tokens can be guided, but learns no scales of its own",
            f"um.distill.{method}() with guidance_range=None",
        )
    return teacher


def copied(teacher: nn.Module) -> Any:
    """A denoiser of its own with the same weights, all of which learn.

    Args:
        teacher: The denoiser.

    Returns:
        The copy.
    """
    return copy.deepcopy(teacher).requires_grad_(True)


def grid_step(
    grid: Grid, parts: int, process: Any, rows: int, rng: Random, device: torch.device
) -> list[Float64[Tensor, " rows"]]:
    """The times of a random step of a grid for each row, and those that divide it into smaller ones.

    Args:
        grid: The grid of all the smaller steps.
        parts: How many smaller steps make a step.
        process: The process.
        rows: Number of rows.
        rng: Source of randomness.
        device: Where the times go.

    Returns:
        parts + 1 times, each [rows], decreasing: the beginning of the step, its inner times, and its end.
    """
    times = grid(process.schedule).to(device)
    share = Stratified(Uniform()).draw(rows, process.schedule, rng).to(device)
    number = (share * (grid.steps // parts)).ceil().long().clamp_min(1) - 1
    return [times[number * parts + part] for part in range(parts + 1)]


def corrupted(
    denoiser: Any,
    x0: Int64[Tensor, "rows *shape"],
    t: Float[Tensor, " rows"],
    condition: Condition | None,
    padding: int | None,
    rng: Random,
) -> tuple[Int64[Tensor, "rows *shape"], Bool[Tensor, "rows *shape"]]:
    """Rows at time t, and where they are open.

    Args:
        denoiser: Any denoiser on the process.
        x0: [rows, *shape], clean tokens.
        t: [rows], times.
        condition: What is known of each row.
        padding: The token that fills rows up; None for no padding.
        rng: Source of randomness.

    Returns:
        (x_t, open), both [rows, *shape].
    """
    process, real = denoiser.process, counted(x0, condition, padding)
    x_t = torch.where(real, process.corrupt(x0, t, rng)[0], x0)
    return x_t, (real & process.masked(x_t)) if isinstance(process, Mask) else real


def row_divergence(
    log_target: Float[Tensor, "places vocabulary"],
    log_belief: Float[Tensor, "places vocabulary"],
    where: Bool[Tensor, "rows *shape"],
) -> Float[Tensor, " rows"]:
    """KL(target || belief), the mean over the open positions of each row.

    Args:
        log_target: Normalised log-probabilities at the open positions, row by row; a constant.
        log_belief: The student's, which learn.
        where: [rows, *shape], which positions are open.

    Returns:
        [rows], in nats per open position; 0 for a row without any.
    """
    target = log_target.exp()
    each = torch.where(target > 0, target * (log_target - log_belief), 0.0).sum(-1)
    return row_mean(each, where)


def row_mean(values: Float[Tensor, " places"], where: Bool[Tensor, "rows *shape"]) -> Float[Tensor, " rows"]:
    """The mean of each row's values.

    Args:
        values: One value for each True of `where`, row by row.
        where: [rows, *shape], where the values are from.

    Returns:
        [rows]; 0 for a row without any.
    """
    row, counts = where.flatten(1).nonzero()[:, 0], where.flatten(1).sum(1)
    return values.new_zeros(len(where)).index_add(0, row, values) / counts.clamp_min(1)
