"""Cost of generation: passes, time and arithmetic."""

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
    """Cost of generating a batch.

    Args:
        rows: Rows in the batch.
        passes: Network passes per row; a row may wait while others are passed through the network.
        tokens_per_second: Tokens per second of all rows together.
        first_token: Seconds until the first token of the first row has its final value.
        flops_per_token: Floating-point operations of the network per generated token.
    """

    rows: int
    passes: float
    tokens_per_second: float
    first_token: float
    flops_per_token: float


class PassCounter:
    """A forward hook that counts the rows passed through a network, see `count_passes`."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...], __: Any) -> None:
        """Count the rows of one forward call.

        Args:
            inputs: The call's positional inputs; the first has one entry for each row.
        """
        self.rows += len(inputs[0])


@contextmanager
def count_passes(network: nn.Module) -> Iterator[PassCounter]:
    """Count the rows that pass through a network inside a `with` block.

    Args:
        network: The network.

    Yields:
        The counter; `.rows` is the count.
    """
    counter = PassCounter()
    handle = network.register_forward_hook(counter)
    try:
        yield counter
    finally:
        handle.remove()


def speed(model: TextModel, mode: DecodingMode, tokens: int, rows: int, repeats: int = 2) -> Speed:
    """Measure the cost of generating a batch without a prompt: the fastest of several repeats after a warm-up.

    Args:
        model: The text model.
        mode: The decoding mode.
        tokens: Tokens in each row.
        rows: Rows in the batch.
        repeats: Number of timed repeats.

    Returns:
        The cost.
    """
    with count_passes(model.denoiser.backbone) as passes, FlopCounterMode(display=False) as flops:
        _timed(model, mode, tokens, rows, 0)
    best, first = float("inf"), float("inf")
    for repeat in range(repeats):
        seconds, until_first = _timed(model, mode, tokens, rows, repeat)
        best, first = min(best, seconds), min(first, until_first)
    total = flops.get_total_flops()
    return Speed(rows, passes.rows / rows, rows * tokens / best, first, total / (rows * tokens))


def _timed(model: TextModel, mode: DecodingMode, tokens: int, rows: int, seed: int) -> tuple[float, float]:
    """(total seconds, seconds until the first token of the first row was final)."""
    start, history = time.perf_counter(), list[tuple[float, int]]()
    x = torch.zeros(1, 1)
    for frame in model.trajectory(rows, length=tokens, seed=seed, **mode.settings):
        x = frame.x
        history.append((time.perf_counter() - start, int(x[0, 0])))
    return history[-1][0], next(at for at, token in history if _is_final(token, x, history, at))


def _is_final(token: int, x: Tensor, history: list[tuple[float, int]], at: float) -> bool:
    return all(later == int(x[0, 0]) for when, later in history if when >= at)
