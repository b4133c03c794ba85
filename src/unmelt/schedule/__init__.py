"""Schedules: signal and noise over time, for numbers and for tokens."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.schedule.any_schedule import AnySchedule, require_gaussian
    from unmelt.schedule.gaussian import Cosine, Exponential, LinearBeta, Schedule, Straight, VarianceExploding
    from unmelt.schedule.tokens import TokenCosine, TokenGeometric, TokenLinear, TokenPolynomial, TokenSchedule

__all__ = [
    "AnySchedule",
    "Cosine",
    "Exponential",
    "LinearBeta",
    "Schedule",
    "Straight",
    "TokenCosine",
    "TokenGeometric",
    "TokenLinear",
    "TokenPolynomial",
    "TokenSchedule",
    "VarianceExploding",
    "require_gaussian",
]

publish(__name__)
