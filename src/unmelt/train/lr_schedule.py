"""The learning rate over a run, relative to its peak: a linear warm-up, then one of these shapes."""

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.public_names import publish

__all__ = ["Cosine", "InverseRoot", "LRSchedule", "Trapezoid"]


@runtime_checkable
class LRSchedule(Protocol):
    """A factor on the peak learning rate for every step."""

    def __call__(self, step: int, steps: int) -> float:
        """Compute the factor of one step.

        Args:
            step: Number of the step, counted from 0.
            steps: Number of steps of the run.

        Returns:
            The learning rate relative to its peak, from 0 to 1.
        """


def _check(part: object, warmup: int, *fractions: float) -> None:
    whole = isinstance(warmup, int) and not isinstance(warmup, bool)
    if not whole or warmup < 0 or not all(0 <= x <= 1 for x in fractions):
        raise UsageError(
            f"{part}", "a whole number of warm-up steps and fractions from 0 to 1", f"{type(part).__name__}()"
        )


def _warmed_up(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


@final
@checked_init("um.train.lr_schedule.Cosine")
@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Falls to 0 as half a cosine: for runs whose length is known (Loshchilov and Hutter, 2017).

    Args:
        warmup: Steps of linear warm-up.

    Raises:
        UsageError: If `warmup` is not a whole number of at least 0.
    """

    warmup: int = 100

    def __post_init__(self) -> None:
        _check(self, self.warmup)

    def __call__(self, step: int, steps: int) -> float:
        if step < self.warmup:
            return _warmed_up(step, self.warmup)
        done = (step - self.warmup) / max(1, steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@final
@checked_init("um.train.lr_schedule.Trapezoid")
@dataclass(frozen=True, kw_only=True)
class Trapezoid:
    """Warm-up, constant, then linear decay to 0 (Hägele et al., 2024, "Scaling Laws Beyond Fixed Training Durations").

    A longer run equals the shorter one up to the decay, so that a run can be extended afterwards.

    Args:
        warmup: Steps of linear warm-up.
        fall: Fraction of the run, at its end, over which the rate decays.

    Raises:
        UsageError: If `warmup` is not a whole number of at least 0, or `fall` is not from 0 to 1.
    """

    warmup: int = 100
    fall: float = 0.2

    def __post_init__(self) -> None:
        _check(self, self.warmup, self.fall)

    def __call__(self, step: int, steps: int) -> float:
        left = (steps - step) / (self.fall * steps) if self.fall else 1.0
        return min(_warmed_up(step, self.warmup), left, 1.0)


@final
@checked_init("um.train.lr_schedule.InverseRoot")
@dataclass(frozen=True, kw_only=True)
class InverseRoot:
    """Constant for `hold` steps, then 1 / sqrt(step): for runs without an end, with averages in place of a decay.

    Karras et al., 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models".

    Args:
        warmup: Steps of linear warm-up.
        hold: Steps before the rate starts to fall.

    Raises:
        UsageError: If one of them is not a whole number of at least 0.
    """

    warmup: int = 100
    hold: int = 10_000

    def __post_init__(self) -> None:
        _check(self, self.warmup)
        _check(self, self.hold)

    def __call__(self, step: int, steps: int) -> float:
        return _warmed_up(step, self.warmup) * math.sqrt(self.hold / max(step, self.hold, 1))


publish(__name__)
