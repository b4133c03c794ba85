"""A belief about tokens, changed token by token before anything is drawn from it."""

from abc import ABC, abstractmethod
from typing import final

from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.posterior import Categorical


class Reshaped(DenoiserWrapper, ABC):
    """A denoiser whose belief at each place is another's, reshaped; with that one's cache, if it has one."""

    @abstractmethod
    def change(self, belief: Categorical, x_t: Int64[Tensor, "rows *shape"], first: int) -> Categorical:
        """The belief that is acted on. It is about the places of x_t from `first` on, as many as it has."""

    @final
    def __call__(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        return self.change(self.denoiser(x_t, t, condition), x_t, 0)

    @property
    def block(self) -> int:
        return self.denoiser.block  # type: ignore[attr-defined]

    @property
    def exact(self) -> bool:
        return self.denoiser.exact  # type: ignore[attr-defined]

    @final
    def decode_step(
        self, x_t: Int64[Tensor, "rows length"], first: int, kept: Tensor | None, condition: Condition | None
    ) -> tuple[Categorical, Tensor]:
        belief, kept = self.denoiser.decode_step(x_t, first, kept, condition)  # type: ignore[attr-defined]
        return self.change(belief, x_t, first), kept
