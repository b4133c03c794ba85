"""Schedules of numbers or of tokens, and the refusal of the latter where noise levels are needed."""

from typing import TypeAlias

from unmelt.errors import UsageError
from unmelt.schedule.gaussian import Schedule
from unmelt.schedule.tokens import TokenSchedule

AnySchedule: TypeAlias = Schedule | TokenSchedule
"""A schedule of numbers or of tokens."""


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
