"""A sampler of some library with all its settings, which solves a problem in a given number of evaluations."""

from collections.abc import Callable
from dataclasses import dataclass

from problems import Problem
from torch import Tensor

Run = Callable[[Problem, int], Tensor | None]
"""End points from at most so many evaluations; None where the sampler cannot do it."""


@dataclass(frozen=True)
class Contestant:
    """`free` of the problem's schedule: it has its own scales, and ends at the same points on any."""

    library: str
    name: str
    run: Run
    free: bool = True
