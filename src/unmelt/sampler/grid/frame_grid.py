"""Which frame moves when: a grid of times for the frames of a row.

Every frame visits the same times t_0 = 1 > ... > t_n = 0, and frame f begins `delay` steps after frame f - 1:

    time of frame f at step k  =  t_clamp(k - delay (f - known), 0, n)

    delay = 0        all frames together: full-sequence diffusion
    delay = n        frame after frame: autoregression over frames
    0 < delay < n    later frames are noisier: the pyramid of diffusion forcing (Chen et al., 2024)

The first `known` frames are at t = 0 throughout: they are what the others are sampled beside.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.sampler.grid.grid import Grid
from unmelt.schedule import AnySchedule


@final
@checked_init("um.grid.FrameGrid")
@dataclass(frozen=True)
class FrameGrid:
    """The times that the frames of a row visit: `grid(schedule)` gives [steps + 1, frames] of them.

    Args:
        grid: The times that each frame visits.
        frames: Number of frames of a row.
        delay: Steps after which the next frame begins: 0 for all together, `grid.steps` for one after the other.
        known: Number of first frames that are known, and stay at t = 0.

    Raises:
        UsageError: If there is no frame to sample, or the delay is negative or above the number of steps.
    """

    grid: Grid
    frames: int
    delay: int = 0
    known: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.known < self.frames:
            raise UsageError(
                f"a FrameGrid of {self.frames} frames, {self.known} of them known",
                "at least one frame that is not known",
                f"FrameGrid(grid, frames={max(self.known, 0) + 1}, known={max(self.known, 0)})",
            )
        if not 0 <= self.delay <= self.grid.steps:
            raise UsageError(
                f"delay={self.delay}",
                f"from 0 (all frames together) to the {self.grid.steps} steps of the grid (one after the other)",
                f"delay={self.grid.steps}",
            )

    @property
    def start(self) -> float:
        """The time at which unknown frames start."""
        return self.grid.start

    @property
    def steps(self) -> int:
        """Number of steps until the last frame is clean."""
        return self.grid.steps + self.delay * (self.frames - self.known - 1)

    def for_shape(self, shape: Sequence[int]) -> "FrameGrid":
        """The grid for rows of a shape, as of `Grid`.

        Args:
            shape: Of one row in model space.

        Returns:
            The grid.
        """
        return replace(self, grid=self.grid.for_shape(shape))

    def __call__(self, schedule: AnySchedule) -> Float64[Tensor, "knots frames"]:
        """The times on a schedule.

        Args:
            schedule: The schedule.

        Returns:
            [steps + 1, frames], 0 for known frames; each unknown frame goes from the start to 0 and never up.
        """
        times, number = self.grid(schedule), torch.arange(self.frames) - self.known
        index = (torch.arange(self.steps + 1)[:, None] - self.delay * number).clamp(0, self.grid.steps)
        return torch.where(number < 0, 0.0, times[index])
