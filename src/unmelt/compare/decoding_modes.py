"""The decoding modes of a text model, each with the settings that select it."""

from typing import Any, NamedTuple

from unmelt.denoiser import Autoregressive, Blockwise
from unmelt.drafting import Drafter, SpeculativeSampler
from unmelt.model import TextModel
from unmelt.process import Mask
from unmelt.sampler import Ancestral, grid
from unmelt.sampler.tokens import (
    Confidence,
    EntropyBound,
    FirstHitting,
    LeftToRight,
    Order,
    PredictorCorrector,
    Random,
    Threshold,
    Unmask,
)


class DecodingMode(NamedTuple):
    """One way for a text model to generate.

    Args:
        name: Its name in tables.
        order: Order in which tokens are generated, for tables.
        settings: Keyword arguments for `TextModel.sample`.
        steps: Number of passes that the settings ask for; 0 if it depends on the text.
    """

    name: str
    order: str
    settings: dict[str, Any]
    steps: int


def decoding_modes(
    model: TextModel, tokens: int, steps: tuple[int, ...], drafter: Drafter | None = None
) -> list[DecodingMode]:
    """All decoding modes of a model.

    Args:
        model: The text model.
        tokens: Number of tokens to generate.
        steps: Numbers of steps to try with samplers of any order.
        drafter: Drafts for an autoregressive model, which verifies; None for no such mode.

    Returns:
        The modes.
    """
    if isinstance(model.denoiser, Autoregressive):
        found = _one_by_one(LeftToRight(), "left to right", 1, tokens)
        return found if drafter is None else [*found, _drafted(drafter, tokens)]
    if isinstance(model.denoiser, Blockwise):
        block = model.denoiser.block
        order = f"by confidence, in blocks of {block}"
        found = [*_one_by_one(Confidence(), order, block, tokens), *_in_blocks(order, tokens)]
        return [*found, *_any_order(model, tokens, steps)] if model.denoiser.also_bidirectional else found
    return _any_order(model, tokens, steps)


def _one_by_one(which: Order, order: str, block: int, tokens: int) -> list[DecodingMode]:
    one = {"steps": tokens}
    return [
        DecodingMode("one token per pass, cached", order, {**one, "sampler": Unmask(which, cache=True)}, tokens),
        DecodingMode("one token per pass, no cache", order, {**one, "sampler": Unmask(which, block=block)}, tokens),
    ]


def _drafted(drafter: Drafter, tokens: int) -> DecodingMode:
    sampler = SpeculativeSampler(drafter)
    return DecodingMode(
        f"drafted, up to {sampler.block} a pass, and verified",
        "left to right",
        {"steps": tokens, "sampler": sampler},
        0,
    )


PACES = {
    **{f"confidence above {least}": Threshold(least) for least in (0.9, 0.7, 0.5, 0.3)},
    **{f"{nats} nats per pass": EntropyBound(nats) for nats in (0.1, 0.5, 1.0)},
}


def _in_blocks(order: str, tokens: int) -> list[DecodingMode]:
    return [
        DecodingMode(f"{name}, cached", order, {"steps": tokens, "sampler": Unmask(Confidence(), pace, cache=True)}, 0)
        for name, pace in PACES.items()
    ]


def _any_order(model: TextModel, tokens: int, steps: tuple[int, ...]) -> list[DecodingMode]:
    """Modes that may unmask any place at any time."""
    fewer = [each for each in steps if each < tokens]
    found = [
        DecodingMode(f"{each} steps", "any", {"sampler": Ancestral(), "grid": grid.uniform(each)}, each)
        for each in fewer
    ]
    if not isinstance(model.denoiser.process, Mask):
        one_each = DecodingMode(
            f"{tokens} steps", "any", {"sampler": Ancestral(), "grid": grid.uniform(tokens)}, tokens
        )
        half = max(1, tokens // 2)
        corrected = DecodingMode(
            f"{half} steps, predictor-corrector",
            "any",
            {"sampler": PredictorCorrector(), "grid": grid.uniform(half)},
            2 * half - 1,
        )
        return [*found, one_each, corrected]
    by_confidence = Confidence()
    one = {"steps": tokens}
    return [
        *found,
        DecodingMode("one token per pass, any order", "any", {"sampler": FirstHitting(), "steps": 1}, tokens),
        DecodingMode(
            "one token per pass, most confident first",
            "by confidence",
            {**one, "sampler": Unmask(by_confidence)},
            tokens,
        ),
        DecodingMode(
            "confidence above 0.9", "by confidence", {**one, "sampler": Unmask(by_confidence, Threshold(0.9))}, 0
        ),
        DecodingMode(
            "0.1 nats per pass", "by confidence", {**one, "sampler": Unmask(by_confidence, EntropyBound(0.1))}, 0
        ),
        *_spaced(by_confidence, "most confident first", "by confidence"),
        *_spaced(Random(), "any order", "any"),
        *_approximate_cache(model, tokens),
    ]


def _spaced(which: Order, name: str, order: str) -> list[DecodingMode]:
    """Modes that keep the tokens of one pass at a minimal distance.

    Distant tokens depend little on each other, so many can be unmasked at once. Rows wait for each other only at a few
    times of the grid.
    """
    return [
        DecodingMode(
            f"{nats:g} nats per pass, {places} apart, {name}",
            order,
            {"steps": 8, "sampler": Unmask(which, EntropyBound(nats), min_distance=places)},
            0,
        )
        for nats, places in ((12.0, 12), (40.0, 6))
    ]


def _approximate_cache(model: TextModel, tokens: int) -> list[DecodingMode]:
    """The mode with the approximate block cache, for networks without blocks."""
    if isinstance(model.denoiser, Blockwise):
        return []
    sampler = Unmask(Confidence(), Threshold(0.9), cache=True)
    settings = {"steps": tokens, "sampler": sampler, "cache_block": 32}
    return [
        DecodingMode("confidence above 0.9, blocks of 32, approximate cache", "by confidence, in blocks", settings, 0)
    ]
