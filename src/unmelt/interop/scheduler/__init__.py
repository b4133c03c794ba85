"""Schedulers of diffusers: what they say of a model, the times that they visit, and samplers that take their steps."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.scheduler.config import SchedulerConfig, read_scheduler
    from unmelt.interop.scheduler.match import SchedulerMatch, match_scheduler
    from unmelt.interop.scheduler.resolution_shift import ResolutionShift
    from unmelt.interop.scheduler.times import times_of_chain, times_of_flow

__all__ = [
    "ResolutionShift",
    "SchedulerConfig",
    "SchedulerMatch",
    "match_scheduler",
    "read_scheduler",
    "times_of_chain",
    "times_of_flow",
]

publish(__name__)
