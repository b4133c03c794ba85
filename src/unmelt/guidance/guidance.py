"""What every kind of guidance does: move a belief away from a worse one.

    guided = worse + scale (belief - worse)                for low <= t <= high, elsewhere the belief as it is

Kinds differ in what is worse: the belief without the condition (`CFG`), that of a weaker model (`Autoguidance`), what
Bayes' rule makes of a classifier (`ClassifierGuidance`), or a better chosen reference than any of these. The interval
is that of Kynkäänniemi et al., 2024. Scale 1 is no guidance, at no cost: the worse belief is then not computed.

Every row may have a scale of its own, which travels with it as `Condition.guidance_scale` and takes the place of the
guidance's: rows of different scales share a batch, are split from it and joined to another. Of guidances within one
another, the outermost takes the rows' scales.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.process.gaussian import expand_like

MOST_SCALE = 1e4
"""Largest size of a scale. Far smaller ones have moved samples out of the range of all data."""


def check_scale(scale: float) -> None:
    """Refuse a scale that is not a number of a size that makes sense.

    Args:
        scale: The guidance scale.

    Raises:
        UsageError: If it is infinite, NaN, or larger than 10,000 in size.
    """
    if not abs(scale) <= MOST_SCALE:
        raise UsageError(
            f"a guidance scale of {scale}",
            f"a finite number, from {-MOST_SCALE:,.0f} to {MOST_SCALE:,.0f}",
            "guidance=2.0",
        )


class Guidance(DenoiserWrapper, ABC):
    """A denoiser that moves the belief of another away from a worse belief.

    Args:
        denoiser: The denoiser to guide.
        scale: 1 is unguided, above 1 guided, 0 the worse belief. Rows whose condition has a `guidance_scale` use that.
        interval: (low, high), times in [0, 1] between which guidance acts; outside it the scale is 1.

    Raises:
        UsageError: If the scale is not finite, or the interval is not within [0, 1].
    """

    def __init__(self, denoiser: Denoiser, scale: float, interval: tuple[float, float] = (0.0, 1.0)) -> None:
        check_scale(scale)
        low, high = interval
        if not 0 <= low < high <= 1:
            raise UsageError(
                f"a guidance interval of {interval}", "two times with 0 <= low < high <= 1", "interval=(0.2, 0.8)"
            )
        self.denoiser, self.scale, self.interval = denoiser, scale, interval

    @abstractmethod
    def worse_than(
        self,
        belief: Any,
        x_t: Shaped[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None,
    ) -> Any:
        """The belief to move away from, finite at every t.

        Args:
            belief: The denoiser's own belief.
            x_t: [rows, *shape], the noisy data.
            t: [rows] or finer, the times.
            condition: What is known of each row.

        Returns:
            A posterior of the same kind as `belief`.
        """

    @final
    def __call__(
        self, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"], condition: Condition | None = None
    ) -> Any:
        return self.beliefs(x_t, t, condition)[1]

    @final
    def beliefs(
        self, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"], condition: Condition | None = None
    ) -> tuple[Any, Any]:
        """The beliefs without guidance and with it.

        Args:
            x_t: [rows, *shape], the noisy data.
            t: [rows] or finer, the times.
            condition: What is known of each row.

        Returns:
            (unguided, guided), two posteriors.
        """
        own = None if condition is None else condition.guidance_scale
        if condition is not None and own is not None:
            condition = replace(condition, guidance_scale=None)  # a guidance within this one keeps its own scale
        low, high = self.interval
        inside = (t >= low) & (t <= high)
        scale = self.scale if own is None else expand_like(own, t)
        weight = torch.where(inside, scale, torch.ones_like(t))  # in float64, as t is
        acts = weight != 1
        if not acts.any():
            belief = self.denoiser(x_t, t, condition)
            return belief, belief
        belief, worse = self.own_and_worse(x_t, t, condition, acts)
        return belief, worse.lerp(belief, expand_like(weight, x_t))

    def own_and_worse(
        self,
        x_t: Shaped[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None,
        acts: Bool[Tensor, "rows *axes"],
    ) -> tuple[Any, Any]:
        """The denoiser's own belief and the one to move away from.

        Args:
            x_t: [rows, *shape], the noisy data.
            t: [rows] or finer, the times.
            condition: What is known of each row.
            acts: True where guidance acts; elsewhere the second may be anything finite.

        Returns:
            Two posteriors.
        """
        belief = self.denoiser(x_t, t, condition)
        return belief, self.worse_than(belief, x_t, t, condition)
