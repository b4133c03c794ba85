"""The learning rate over a run, as a share of its peak: a rise over the first steps, then one of these shapes."""

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from unmelt.errors import UsageError


@runtime_checkable
class LRSchedule(Protocol):
    def __call__(self, step: int, steps: int) -> float:
        """The share of step number `step`, counted from 0, of a run of `steps`."""


def _check(part: object, warmup: int, *shares: float) -> None:
    if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0 or not all(0 <= x <= 1 for x in shares):
        raise UsageError(
            f"{part}", "a whole number of warm-up steps and shares from 0 to 1", f"{type(part).__name__}()"
        )


def _rise(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


@final
@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Falls to 0 as half a cosine: for runs whose length is known."""

    warmup: int = 100

    def __post_init__(self) -> None:
        _check(self, self.warmup)

    def __call__(self, step: int, steps: int) -> float:
        if step < self.warmup:
            return _rise(step, self.warmup)
        done = (step - self.warmup) / max(1, steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@final
@dataclass(frozen=True, kw_only=True)
class Trapezoid:
    """Stays at its peak and falls to 0 in a line over the last `fall` of the run (Hägele et al., 2024).

    A longer run is the same run up to the fall, so that a run can be made longer after the fact.
    """

    warmup: int = 100
    fall: float = 0.2

    def __post_init__(self) -> None:
        _check(self, self.warmup, self.fall)

    def __call__(self, step: int, steps: int) -> float:
        left = (steps - step) / (self.fall * steps) if self.fall else 1.0
        return min(_rise(step, self.warmup), left, 1.0)


@final
@dataclass(frozen=True, kw_only=True)
class InverseRoot:
    """Falls as 1 / sqrt(step) after `hold` steps, for ever: averages do what a fall would (Karras et al., 2024)."""

    warmup: int = 100
    hold: int = 10_000

    def __post_init__(self) -> None:
        _check(self, self.warmup)
        _check(self, self.hold)

    def __call__(self, step: int, steps: int) -> float:
        return _rise(step, self.warmup) * math.sqrt(self.hold / max(step, self.hold, 1))
