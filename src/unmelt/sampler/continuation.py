"""Frames after frames that are known, window by window.

    window = known frames, held at their own times | new frames, from noise to data beside them
    the last frames of a window are the known ones of the next

Known frames wait at t = 0, or at a small `context_time` for which they are noised anew in every window: a network that
was trained with noisy context then forgives the small errors of the frames it has made itself (Valevski et al., 2024,
section 3.2.1). Any denoiser that takes times [rows, frames] continues frames; nothing is trained for it in particular
(diffusion forcing: Chen et al., 2024).
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds, Seed
from unmelt.sampler.grid import FrameGrid
from unmelt.sampler.loop import frames as states
from unmelt.sampler.loop import knots
from unmelt.sampler.sampler import Sampler

WindowCondition = Callable[[int, int], Condition | None]
"""(first, last) -> what is known of the frames first to last - 1, counted from the first known frame that was given."""


@checked("um.sampler.continue_frames")
def continue_frames(
    denoiser: Denoiser,
    past: Float[Tensor, "rows known *rest"],
    *,
    frames: int,
    sampler: Sampler,
    grid: FrameGrid,
    context_time: float = 0.0,
    seed: Seed = 0,
    condition: Any = None,
) -> Float[Tensor, "rows frames *rest"]:
    """New frames after known ones, by windows of as many frames as the grid has.

    Args:
        denoiser: A denoiser of rows [frames, *rest] that takes times [rows, frames].
        past: [rows, known, *rest], known frames; the last `grid.known` of them are used, all at once.
        frames: Number of new frames.
        sampler: The sampler.
        grid: Frames of a window, how many of them are known, and the times that the others visit.
        context_time: Time to which the known frames are noised.
        seed: One for all rows, or one for each. None draws a fresh one.
        condition: What is known of each row; or a function of (first, last) that returns what is known of those frames,
            counted from the first frame of `past`.

    Returns:
        [rows, frames, *rest], the new frames.

    Raises:
        UsageError: If there are fewer known frames than the grid needs, none is asked for, or the time is not in
            [0, 1).
    """
    if past.ndim < 2 or past.shape[1] < grid.known:
        raise UsageError(
            f"known frames of shape {tuple(past.shape)} for a grid with {grid.known} known frames",
            "rows, frames, and at least as many frames",
            f"FrameGrid(grid, frames={grid.frames}, known={past.shape[1] if past.ndim > 1 else 1})",
        )
    if frames < 1 or not 0 <= context_time < 1:
        raise UsageError(
            f"frames={frames}, context_time={context_time}",
            "at least one new frame, and a time from 0 to below 1",
            "continue_frames(denoiser, past, frames=16, context_time=0.05, ...)",
        )
    rows, rng, whole = len(past), RowSeeds.of(seed, len(past)), past
    start, *times = (_held(t, grid.known, context_time) for t in knots(grid, denoiser.process.schedule, rows))
    known = torch.arange(grid.frames) < grid.known
    while whole.shape[1] < past.shape[1] + frames:
        first = whole.shape[1] - grid.known
        fresh = (rows, grid.frames - grid.known, *past.shape[2:])
        with torch.no_grad():
            x = torch.cat([whole[:, first:], whole.new_zeros(fresh)], 1)
            x = denoiser.process.mix(x, rng.normal(x.shape, x.dtype, x.device), start.to(x.device))
            if context_time == 0:
                x[:, known] = whole[:, first:]  # as they are, whatever rounds
            about = condition(first, first + grid.frames) if callable(condition) else condition
            state = sampler.init(denoiser, x, start.to(x.device), rng.advance(), about)
        end = deque(states(denoiser, sampler, state, [t.to(x.device) for t in times]), maxlen=1).pop()
        rng = end.rng.advance()
        whole = torch.cat([whole, end.x[:, grid.known :]], 1)
    return whole[:, past.shape[1] : past.shape[1] + frames]


def _held(t: Tensor, known: int, time: float) -> Tensor:
    """Times at which known frames stand at a time of their own."""
    return t if time == 0 else torch.cat([torch.full_like(t[:, :known], time), t[:, known:]], 1)
