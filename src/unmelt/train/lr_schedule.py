"""The learning rate over a run, relative to its peak: a linear warm-up, then one of these shapes."""

import itertools
import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.public_names import publish

__all__ = ["Cosine", "CosineRestarts", "InverseRoot", "LRSchedule", "Trapezoid"]


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
@checked_init("um.train.lr_schedule.CosineRestarts")
@dataclass(frozen=True, kw_only=True)
class CosineRestarts:
    """Falls to 0 and begins again: for runs in stages (Loshchilov and Hutter, 2017, "SGDR").

    Args:
        cycles: How often it falls.
        growth: Length of each cycle in units of the one before it.
        warmup: Steps of linear warm-up at the beginning of each cycle.

    Raises:
        UsageError: If `cycles` is not a whole number of at least 1, `growth` is not positive, or `warmup` is not a
            whole number of at least 0.
    """

    cycles: int = 5
    growth: float = 1.0
    warmup: int = 20

    def __post_init__(self) -> None:
        _check(self, self.warmup)
        if self.cycles < 1 or not 0 < self.growth < math.inf:
            raise UsageError(
                f"{self}", "a whole number of at least 1 cycles and a positive growth", "CosineRestarts(cycles=5)"
            )

    def ends(self, steps: int) -> tuple[int, ...]:
        """Where the cycles end.

        Args:
            steps: Number of steps of the run.

        Returns:
            For each cycle, the number of steps taken when it is over; the last is `steps`.
        """
        lengths = list(itertools.accumulate(self.growth**cycle for cycle in range(self.cycles)))
        return tuple(round(steps * length / lengths[-1]) for length in lengths)

    def __call__(self, step: int, steps: int) -> float:
        ends = self.ends(steps)
        cycle = min(sum(end <= step for end in ends), self.cycles - 1)
        start = ends[cycle - 1] if cycle else 0
        done = (step - start) / max(1, ends[cycle] - start)
        return _warmed_up(step - start, self.warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


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
