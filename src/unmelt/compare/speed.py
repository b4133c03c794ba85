"""What writing costs: passes, time and arithmetic."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unmelt.compare.decoding_modes import DecodingMode
from unmelt.model import TextModel


@dataclass(frozen=True)
class Speed:
    """
    passes             of the network a row, which may wait while others are read
    tokens_per_second  of all rows together
    first_token        seconds until the first place of the text stands as it will stay
    flops_per_token    floating-point operations of the network for each token written
    """

    rows: int
    passes: float
    tokens_per_second: float
    first_token: float
    flops_per_token: float


class Passes:
    """Counts rows that are read while it is inside `counted`."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, _: nn.Module, read: tuple[Any, ...], __: Any) -> None:
        self.rows += len(read[0])


@contextmanager
def counted(network: nn.Module) -> Iterator[Passes]:
    passes = Passes()
    handle = network.register_forward_hook(passes)
    try:
        yield passes
    finally:
        handle.remove()


def speed(model: TextModel, mode: DecodingMode, tokens: int, rows: int, repeats: int = 2) -> Speed:
    """Of a batch of rows written from nothing; the fastest of so many, after one to warm up and count."""
    with counted(model.denoiser.backbone) as passes, FlopCounterMode(display=False) as flops:
        _written(model, mode, tokens, rows, 0)
    best, first = float("inf"), float("inf")
    for repeat in range(repeats):
        taken, until_first = _written(model, mode, tokens, rows, repeat)
        best, first = min(best, taken), min(first, until_first)
    total = flops.get_total_flops()
    return Speed(rows, passes.rows / rows, rows * tokens / best, first, total / (rows * tokens))


def _written(model: TextModel, mode: DecodingMode, tokens: int, rows: int, seed: int) -> tuple[float, float]:
    """(seconds in all, seconds until the first place of the first row was final)."""
    start, seen = time.perf_counter(), list[tuple[float, int]]()
    x = torch.zeros(1, 1)
    for frame in model.trajectory(rows, length=tokens, seed=seed, **mode.settings):
        x = frame.x
        seen.append((time.perf_counter() - start, int(x[0, 0])))
    return seen[-1][0], next(at for at, token in seen if _stays(token, x, seen, at))


def _stays(token: int, x: Tensor, seen: list[tuple[float, int]], at: float) -> bool:
    return all(later == int(x[0, 0]) for when, later in seen if when >= at)
