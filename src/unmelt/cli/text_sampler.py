"""The sampler of text that the command line's options describe."""

from unmelt.cli.sample import Order
from unmelt.denoiser import CachedDenoiser
from unmelt.errors import UsageError
from unmelt.model import TextModel
from unmelt.sampler import Ancestral, Sampler
from unmelt.sampler.tokens import (
    Confidence,
    EntropyBound,
    FirstHitting,
    LeftToRight,
    Margin,
    NegativeEntropy,
    Pace,
    Random,
    Remask,
    Scheduled,
    Threshold,
    Unmask,
)

ORDERS = {
    "confidence": Confidence(),
    "margin": Margin(),
    "entropy": NegativeEntropy(),
    "random": Random(),
    "reading": LeftToRight(),
}


def text_sampler(
    model: TextModel, order: Order, threshold: float | None, entropy_budget: float | None, min_distance: int | None
) -> Sampler | None:
    """Make the sampler that the options describe.

    Args:
        model: The model.
        order: The order in which tokens are unmasked, or another sampler of tokens; "own" is the model's sampler. A
            threshold, budget or distance with "own" means "confidence".
        threshold: Unmask all tokens that are at least this probable; None for a fixed number of steps.
        entropy_budget: Unmask as many tokens as a joint entropy of so many nats allows; None for a fixed number of
            steps.
        min_distance: Least distance, in tokens, between tokens that are unmasked in the same step; None for 1.

    Returns:
        The sampler; None for the model's own.

    Raises:
        UsageError: If both a threshold and an entropy budget are given, or one with an order that cannot use it.
    """
    given = {"threshold": threshold, "entropy_budget": entropy_budget, "min_distance": min_distance}
    paced = [name for name, value in given.items() if value is not None]
    if threshold is not None and entropy_budget is not None:
        raise UsageError("--threshold and --entropy-budget", "one of them", f"--threshold {threshold:g}")
    if paced and order == "own":
        order = "confidence"
    if order == "own":
        return None
    if order in ORDERS:
        # block by block, with the exact cache
        by_blocks = isinstance(model.denoiser, CachedDenoiser) and min_distance is None
        end = model.tokenizer.special("end")
        return Unmask(
            ORDERS[order],
            _pace(threshold, entropy_budget),
            cache=by_blocks,
            end_token=end,
            min_distance=1 if min_distance is None else min_distance,
        )
    if paced:
        raise UsageError(
            f"--{paced[0].replace('_', '-')} with --order {order}", f"one of {', '.join(ORDERS)}", "--order confidence"
        )
    return {"ancestral": Ancestral(), "first-hitting": FirstHitting(), "remask": Remask()}[order]


def _pace(threshold: float | None, entropy_budget: float | None) -> Pace:
    if entropy_budget is not None:
        return EntropyBound(entropy_budget)
    return Scheduled() if threshold is None else Threshold(threshold)
