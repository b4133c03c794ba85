"""How long a block pays, from what passes cost and how often drafted tokens are accepted.

A pass that verifies b drafted tokens writes 1 + a_1 + a_1 a_2 + ... + a_1 ... a_b tokens on average, where a_i is how
often token i is accepted when those before it are. It reads b + 1 tokens, in m_(b + 1) milliseconds, after d
milliseconds of drafting:

    rate(b) = (1 + sum over i <= b of a_1 ... a_i) / (d + m_(b + 1)),      rate(0) = 1 / m_1,      b* = argmax rate

On a processor a pass of b + 1 tokens costs more than one of a single token, so that b* is small where acceptance is;
b* = 0 says that drafting does not pay.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import NamedTuple

import torch

from unmelt.arguments import checked
from unmelt.drafting.verifier import Verifier
from unmelt.errors import UsageError


class BlockLength(NamedTuple):
    """The best length of a block.

    Args:
        block: Tokens to draft for a pass; 0 for none.
        tokens_a_pass: Tokens that a pass then writes on average.
        milliseconds_a_token: What a token then costs.
        times_faster: By how much that is less than without drafts.
    """

    block: int
    tokens_a_pass: float
    milliseconds_a_token: float
    times_faster: float


@checked("um.drafting.best_block")
def best_block(
    milliseconds: Sequence[int | float], acceptance: Sequence[int | float], draft_milliseconds: float = 0.0
) -> BlockLength:
    """Choose the length of a block.

    Args:
        milliseconds: What a pass costs that reads 1, 2, 3, ... tokens, as `pass_milliseconds` measures it.
        acceptance: How often the first, second, ... drafted token is accepted where those before it are, as
            `acceptance_by_place` counts it.
        draft_milliseconds: What drafting a block costs, whatever its length.

    Returns:
        The length, up to what both say something about.

    Raises:
        UsageError: If a cost is not positive or an acceptance is no share.
    """
    if not milliseconds or min(milliseconds) <= 0 or not all(0 <= a <= 1 for a in acceptance) or draft_milliseconds < 0:
        raise UsageError(
            f"passes of {list(milliseconds)} ms, drafts of {draft_milliseconds} ms and acceptance {list(acceptance)}",
            "positive milliseconds, and shares from 0 to 1",
            "best_block([50, 60, 70], [0.6, 0.4], draft_milliseconds=5.0)",
        )
    written = list(accumulate(accumulate(acceptance, mul), initial=1.0))
    cost = [milliseconds[0], *(draft_milliseconds + each for each in milliseconds[1:])]
    each = [ms / tokens for ms, tokens in zip(cost, written, strict=False)]
    block = each.index(min(each))
    return BlockLength(block, written[block], each[block], each[0] / each[block])


@checked("um.drafting.pass_milliseconds")
def pass_milliseconds(verifier: Verifier, most: int = 9, length: int = 128, repeats: int = 5) -> list[float]:
    """Measure what a pass of one row costs, by the number of tokens that it reads.

    Args:
        verifier: The verifier.
        most: Largest number of tokens.
        length: Tokens of the text that stands before them.
        repeats: Passes of each number, in turns; their median counts.

    Returns:
        Milliseconds for 1, 2, ..., `most` tokens.

    Raises:
        UsageError: If the text is longer than the verifier reads, or a number is below 1.
    """
    if min(most, length, repeats) < 1 or length + most > verifier.length:
        given = f"passes of {most} tokens after {length}, {repeats} times"
        raise UsageError(given, f"numbers from 1, and {verifier.length} tokens in all", "pass_milliseconds(verifier)")
    cache = verifier.init_cache(1, length + most)
    device = cache.kv.device
    x = (torch.arange(length + most, device=device) * 7919 % verifier.vocabulary)[None]
    at = torch.tensor([length], device=device)
    cache = verifier.retain(verifier.read(x, at, 1, cache).cache, at)
    found: list[list[float]] = [[] for _ in range(most)]
    for _ in range(repeats):
        for n in range(1, most + 1):
            _wait(device)
            start = time.perf_counter()
            verifier.read(x, at, n, cache)
            _wait(device)
            found[n - 1].append(1000 * (time.perf_counter() - start))
    return [statistics.median(each) for each in found]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
