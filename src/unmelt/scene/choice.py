"""One of several things, by chance."""

from collections.abc import Sequence
from typing import TypeVar

import torch

from unmelt.rng import Random

T = TypeVar("T")


def choose(options: Sequence[T], rng: Random) -> T:
    """Choose one of several options, each as likely as the others.

    Args:
        options: The options, at least one.
        rng: Source of randomness; one number is drawn.

    Returns:
        One of them.
    """
    return options[int(float(rng.uniform((1,), torch.float64)) * len(options))]
