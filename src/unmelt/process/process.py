"""What every way of melting data has in common."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.rng import Random


class Process(Protocol):
    """How data melts: jump to any noise level, and walk back one step given a belief about the data.

    `x` is a tensor of rows, `[rows, *shape]`; `t` and `s` are float64 times, `[rows]`, one for each row.
    """

    def prior(self, shape: Sequence[int], rng: Random, dtype: torch.dtype = ...) -> Tensor:
        """A batch at t = 1, where nothing is left of the data."""

    def corrupt(self, x0: Tensor, t: Float[Tensor, " rows"], rng: Random) -> tuple[Tensor, Tensor]:
        """(x_t, noise): x0 melted to time t in one jump, and the noise that did it."""

    def bridge(
        self, x_t: Tensor, posterior: Any, t: Float[Tensor, " rows"], s: Float[Tensor, " rows"], rng: Random
    ) -> Tensor:
        """A sample of q(x_s | x_t, x0) with x0 as believed, s < t."""
