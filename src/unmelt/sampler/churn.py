"""Churn (Karras et al., 2022, algorithm 2): before each step, a little fresh noise and as much more noise level.

    r_up = (1 + amount) r_t,      x_up ~ q(x | x_t) at that level,      then the sampler's own step from there

with r = sigma / alpha, within an interval of r. Fresh noise makes up for errors of earlier steps. EDM's own sampler is
`Churn(Heun(), amount)`, its S_churn being amount times the number of steps.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds
from unmelt.sampler.heun import Heun
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


@final
@checked_init("um.sampler.Churn")
@dataclass(frozen=True)
class Churn(Sampler):
    """Any sampler with fresh noise before each step. A multistep sampler falls back to order 1 where it is churned.

    Args:
        sampler: The sampler that takes the steps.
        amount: Relative rise of the noise level before a step; EDM uses at most 0.41.
        interval: (low, high), noise-to-signal ratios between which to churn.

    Raises:
        UsageError: If the amount is negative, or not 0 <= low < high.
    """

    sampler: Sampler = Heun()
    amount: float = 0.2
    interval: tuple[float, float] = (0.05, 50.0)

    def __post_init__(self) -> None:
        low, high = self.interval
        if not (0 <= self.amount < math.inf and 0 <= low < high):
            raise UsageError(
                f"Churn with amount={self.amount}, interval={self.interval}",
                "an amount of at least 0, and low < high",
                "Churn(Heun(), amount=0.2, interval=(0.05, 50.0))",
            )

    def init(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, rng: RowSeeds, condition: Condition | None = None
    ) -> State:
        return self.sampler.init(denoiser, x, t, rng, condition)

    def step(self, denoiser: Denoiser, state: State, s: Tensor) -> State:
        process = denoiser.process
        schedule = process.schedule
        low, high = self.interval
        log_snr = schedule.log_snr(state.t)
        ratio = torch.exp(-log_snr / 2)
        churns = (ratio >= low) & (ratio <= high) & (s < state.t)  # not a frame that waits
        noisiest = schedule.log_snr(torch.ones_like(state.t))
        raised = schedule.time(torch.maximum(torch.where(churns, log_snr, 0.0) - 2 * math.log1p(self.amount), noisiest))
        up = torch.where(churns, torch.maximum(raised, state.t), state.t)
        x = process.renoise(state.x, state.t, up, state.rng)
        churned = state.moved(x, up, state.x0, state.rng.advance())
        return self.sampler.step(denoiser, churned, s)
