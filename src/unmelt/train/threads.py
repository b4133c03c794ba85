"""How many threads compute a step on the CPU.

A step of a small network is many short operations. Threads that meet after each of them wait for one another, and where
other programs use the processor too, they wait actively: the step takes several times the processor time, and often
longer. So one thread computes a step of little work. The rule depends on nothing but the sizes of network and batch,
since another number of threads rounds sums otherwise: a resumed run must use the same.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from unmelt.train.loop import Trainer

LITTLE_WORK = 3e8
"""Products of weights and places in a step up to which one thread computes it."""

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which a person says how many there are to be."""

DEFAULT = torch.get_num_threads()
"""Threads that torch takes by itself; another number at the start of a run was set by its program."""


def work_of(parameters: int, rows: int, shape: Sequence[int], tokens: bool) -> int:
    """Products of weights and places in the forward pass of a step, at most.

    Args:
        parameters: Number of parameters that are computed with.
        rows: Rows per step.
        shape: Shape of one row.
        tokens: Whether a row is a sequence of tokens.

    Returns:
        Parameters times rows times places: tokens, pixels, or 1 for a row that is one vector.
    """
    places = math.prod(shape) if tokens else math.prod(shape[1:])
    return parameters * rows * places


@contextmanager
def suitable_threads(trainer: Trainer) -> Iterator[str]:
    """Inside, torch computes with one thread if a step is little work and nobody has said otherwise.

    Args:
        trainer: The run.

    Yields:
        A clause on the number of threads, for the first line of the run; empty where no CPU computes.
    """
    if trainer.device.type != "cpu":
        yield ""
        return
    before = torch.get_num_threads()
    asked = before != DEFAULT or any(os.environ.get(name) for name in VARIABLES)
    tokens = hasattr(getattr(trainer.network, "process", None), "vocabulary")
    work = work_of(trainer.size, trainer.training.batch, trainer.shape, tokens)
    small = before > 1 and not asked and work <= LITTLE_WORK
    count = 1 if small else before
    torch.set_num_threads(count)
    try:
        reason = f", enough for so small a step; {VARIABLES[0]} sets another number" if small else ""
        yield f" with {count} thread{'s' * (count > 1)}{reason}"
    finally:
        torch.set_num_threads(before)
