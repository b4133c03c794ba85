"""Denoising regression: the one loss behind DDPM, score matching, EDM and flow matching.

    E_t E_(x0, noise) [ weight(t) |belief(alpha_t x0 + sigma_t noise, t) - x0|^2 ]

Its minimiser is the posterior mean at every t, and with it the score (Vincent, 2011) and the velocity (Lipman et al.,
2023).
"""

from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.objective.couplings import Coupling, Independent
from unmelt.objective.times import Stratified, Times, Uniform
from unmelt.objective.weights import Flat, Weight
from unmelt.rng import Random


@final
@dataclass(frozen=True, kw_only=True)
class Regression:
    """Mean over dimensions of the weighted squared error, a number for each row.

    times      which noise levels, how often
    weight     how much each counts
    coupling   which noise goes with which data
    drop       the share of rows whose condition is dropped to null, for classifier-free guidance
    """

    times: Times = Stratified(Uniform())
    weight: Weight = Flat()
    coupling: Coupling = Independent()
    drop: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.drop <= 1:
            raise UsageError(f"Regression with drop={self.drop}", "a share from 0 to 1", "Regression(drop=0.1)")

    def __call__(
        self, denoiser: Any, x0: Float[Tensor, "rows *shape"], condition: Condition | None, rng: Random
    ) -> Float[Tensor, " rows"]:
        process, rows = denoiser.process, len(x0)
        t = self.times.draw(rows, process.schedule, rng).to(x0.device)
        noise = rng.normal(x0.shape, x0.dtype, x0.device)
        noise = self.coupling.pair(x0, noise, None if condition is None else condition.label)
        if condition is not None and self.drop > 0:
            condition = condition.drop((rng.uniform((rows,)) < self.drop).to(x0.device))
        belief = denoiser(process.mix(x0, noise, t), t, condition)
        error = (belief.mean - x0).square().flatten(1).mean(1)
        return error * self.weight(t, process.schedule, self.times).to(error.dtype)
