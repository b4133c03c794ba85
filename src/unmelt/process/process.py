"""What every way of melting data has in common.

    q(x_t | x0)          corrupt: any noise level in one jump
    q(x_s | x_t, x0)     bridge: one step back, given a belief about x0

x is [rows, *axes, *rest] and times are [rows, *axes]: mostly one time a row, but each frame of a row may have its own
(diffusion forcing: Chen et al., 2024).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.rng import Random


class Process(Protocol):
    """How data melts: jump to any noise level, and walk back one step given a belief about the data."""

    def prior(self, shape: Sequence[int], rng: Random, dtype: torch.dtype = ...) -> Tensor:
        """Draw a batch at t = 1, where nothing is left of the data.

        Args:
            shape: Of the batch, rows first.
            rng: Source of randomness.
            dtype: Precision; tokens are int64 whatever it says.

        Returns:
            x_1, of this shape.
        """

    def corrupt(self, x0: Tensor, t: Float[Tensor, "rows *axes"], rng: Random) -> tuple[Tensor, Tensor]:
        """Melt data to time t in one jump.

        Args:
            x0: [rows, *axes, *rest], clean data.
            t: [rows, *axes], times in [0, 1], float64.
            rng: Source of randomness.

        Returns:
            (x_t, noise): the melted data, and the noise that did it (of tokens, which of them melted).
        """

    def bridge(
        self, x_t: Tensor, posterior: Any, t: Float[Tensor, "rows *axes"], s: Float[Tensor, "rows *axes"], rng: Random
    ) -> Tensor:
        """Draw from q(x_s | x_t, x0) with x0 as believed.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            posterior: Belief about x0.
            t: [rows, *axes], times of x_t.
            s: [rows, *axes], times to go to, s < t.
            rng: Source of randomness.

        Returns:
            x_s, of the shape of x_t.
        """
