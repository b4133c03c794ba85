"""Denoising regression: the one loss behind DDPM, score matching, EDM and flow matching.

    E_t E_(x0, noise) [ weight(t) |belief(alpha_t x0 + sigma_t noise, t) - x0|^2 ]

Its minimiser is the posterior mean at every t, and with it the score (Vincent, 2011) and the velocity (Lipman et al.,
2023). With times [rows, frames] each frame has its own noise level and weight (diffusion forcing: Chen et al., 2024); a
frame at t = 0 is known and has no loss. Of rows of different lengths (`Condition.x_mask`), each is averaged over its
own numbers.
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.objective.couplings import Coupling, Independent
from unmelt.objective.times import Stratified, Times, Uniform
from unmelt.objective.weights import FlatWeight, Weight
from unmelt.rng import Random


@final
@checked_init("um.objective.Regression")
@dataclass(frozen=True, kw_only=True)
class Regression:
    """Weighted squared error of the belief about x0, averaged over dimensions: one number a row.

    Args:
        times: Distribution of the noise levels.
        weight: Weight of the error at each noise level.
        coupling: Which noise goes with which data.
        drop: Share of rows whose condition is dropped to null, for classifier-free guidance.
        drop_each: Share of rows that each field of the condition is dropped from on its own, so that samples may be
            given any part of it, such as a label without a control picture.

    Raises:
        UsageError: If a share is not in [0, 1].
    """

    times: Times = Stratified(Uniform())
    weight: Weight = FlatWeight()
    coupling: Coupling = Independent()
    drop: float = 0.0
    drop_each: float = 0.0

    def __post_init__(self) -> None:
        for name, share in (("drop", self.drop), ("drop_each", self.drop_each)):
            if not 0 <= share <= 1:
                raise UsageError(f"Regression with {name}={share}", "a share from 0 to 1", f"Regression({name}=0.1)")

    def __call__(
        self, denoiser: Any, x0: Float[Tensor, "rows *shape"], condition: Condition | None, rng: Random
    ) -> Float[Tensor, " rows"]:
        """The loss of each row.

        Args:
            denoiser: The denoiser to train.
            x0: [rows, *shape], clean data; [rows, frames, *rest] where times are drawn for frames.
            condition: What is known of each row.
            rng: Source of randomness.

        Returns:
            [rows].

        Raises:
            UsageError: If the times drawn are not those of leading axes of x0.
        """
        process, rows = denoiser.process, len(x0)
        t = self.times.draw(rows, process.schedule, rng).to(x0.device)
        if x0.shape[: t.ndim] != t.shape:
            raise UsageError(
                f"times of shape {tuple(t.shape)} for data of shape {tuple(x0.shape)}",
                "times of rows, or of the leading axes of the data",
                f"PerFrame(Stratified(Uniform()), frames={x0.shape[1] if x0.ndim > 1 else 1})",
            )
        noise = rng.normal(x0.shape, x0.dtype, x0.device)
        noise = self.coupling.pair(x0, noise, None if condition is None else condition.label)
        if condition is not None and self.drop > 0:
            condition = condition.drop((rng.uniform((rows,)) < self.drop).to(x0.device))
        if condition is not None and self.drop_each > 0:
            for name in condition.droppable:
                condition = condition.drop((rng.uniform((rows,)) < self.drop_each).to(x0.device), [name])
        belief = denoiser(process.mix(x0, noise, t), t, condition)
        square = (belief.mean - x0).square()
        if condition is not None and condition.x_mask is not None:  # the mean over what is to be generated
            share = condition.x_mask.flatten(1).to(square.dtype).mean(1).clamp_min(1e-12)
            square = condition.masked(square) / share.view(-1, *(1,) * (square.ndim - 1))
        error = square.reshape(*t.shape, -1).mean(-1)
        weight = torch.where(t > 0, self.weight(t, process.schedule, self.times), 0.0)  # at t = 0 nothing is unknown
        loss = error * weight.to(error.dtype)
        return loss if loss.ndim == 1 else loss.flatten(1).mean(1)
