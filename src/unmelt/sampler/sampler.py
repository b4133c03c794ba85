"""What every sampler has in common: start, then one step at a time.

A sampler solves the reverse process from t = 1 to t = 0. Its numbers are functions of time, one for each row or, with
times [rows, *axes], one for each frame of a row.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds
from unmelt.sampler.state import State


class Sampler(ABC):
    """One algorithm. It holds settings and no history; the history is in the state."""

    keeps_known_tokens: ClassVar[bool] = False
    """Whether it writes masks alone, so that tokens which are known stay as they are."""

    @abstractmethod
    def init(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        rng: RowSeeds,
        condition: Condition | None = None,
    ) -> State:
        """Begin: rows that stand at times t, ready for their first step.

        Args:
            denoiser: The denoiser that will be sampled from.
            x: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times of x.
            rng: Seed of each row.
            condition: What is known of each row.

        Returns:
            The state before the first step.
        """

    @abstractmethod
    def step(self, denoiser: Denoiser, state: State, s: Float[Tensor, "rows *axes"]) -> State:
        """Take one step, from the times of the state to s.

        Args:
            denoiser: The denoiser to sample from.
            state: The rows.
            s: [rows, *axes], times to go to, 0 <= s < t. Frames of a row may wait, s = t; what they become is undone
                by `advance` and `walk`. For rows that wait, see `advance`.

        Returns:
            The state at s.
        """


def check_row_times(sampler: Sampler, t: Tensor) -> None:
    """Refuse times finer than rows for a sampler that has one decision a row.

    Args:
        sampler: The sampler.
        t: Times that it was given.

    Raises:
        UsageError: If the times are not [rows].
    """
    if t.ndim != 1:
        name = type(sampler).__name__
        raise UsageError(
            f"{name} with times of shape {tuple(t.shape)}",
            f"one time a row: what {name} decides, it decides for whole rows",
            "Euler(), DPMpp() or Adams(), which take times [rows, frames]",
        )
