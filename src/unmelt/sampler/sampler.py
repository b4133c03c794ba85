"""What every way back has in common: start, then one step at a time."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.rng import Rows
from unmelt.sampler.state import State


class Sampler(ABC):
    """One algorithm. It holds settings and no history; the history is in the state."""

    @abstractmethod
    def init(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        rng: Rows,
        condition: Condition | None = None,
    ) -> State:
        """Rows x that stand at times t, ready for their first step."""

    @abstractmethod
    def step(self, denoiser: Denoiser, state: State, s: Float[Tensor, " rows"]) -> State:
        """Each row from its time to s, 0 <= s < t. For rows that should wait, see `advance`."""
