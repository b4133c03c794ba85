"""Schedules: signal and noise over time, for numbers and for tokens."""

from typing import TypeAlias

from unmelt.errors import UsageError
from unmelt.schedule.gaussian import Cosine, Exponential, LinearBeta, Schedule, Straight, VarianceExploding
from unmelt.schedule.tokens import Geometric, Linear, MaskCosine, Polynomial, TokenSchedule

AnySchedule: TypeAlias = Schedule | TokenSchedule


def require_gaussian(schedule: AnySchedule, wanted_by: str) -> Schedule:
    """The schedule itself, if it has noise levels. Token schedules have none, only a share of tokens that is left.

    Args:
        schedule: Any schedule.
        wanted_by: Who needs noise levels, for the error message.

    Returns:
        The schedule.

    Raises:
        UsageError: If it is a token schedule.
    """
    if not isinstance(schedule, Schedule):
        raise UsageError(
            f"{wanted_by} on the token schedule {type(schedule).__name__}",
            "times that are defined without noise levels",
            "objective.Uniform(), or grid.uniform(20)",
        )
    return schedule


__all__ = [
    "AnySchedule",
    "Cosine",
    "Exponential",
    "Geometric",
    "Linear",
    "LinearBeta",
    "MaskCosine",
    "Polynomial",
    "Schedule",
    "Straight",
    "TokenSchedule",
    "VarianceExploding",
    "require_gaussian",
]
