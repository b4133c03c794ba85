"""The ways in which a model of text can write, each with the settings that it is asked with."""

from typing import Any, NamedTuple

from unmelt.denoiser import Autoregressive, Blockwise
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
    """
    name       how it is called in tables
    order      in which tokens come
    settings   of `TextModel.sample`
    steps      passes that the settings ask for; 0 where the text itself decides
    """

    name: str
    order: str
    settings: dict[str, Any]
    steps: int


def decoding_modes(model: TextModel, tokens: int, steps: tuple[int, ...]) -> list[DecodingMode]:
    """All that this model can do for so many tokens."""
    if isinstance(model.denoiser, Autoregressive):
        return _one_by_one(LeftToRight(), "left to right", 1, tokens)
    if isinstance(model.denoiser, Blockwise):
        block = model.denoiser.block
        order = f"by confidence, in blocks of {block}"
        found = [*_one_by_one(Confidence(), order, block, tokens), *_in_blocks(order, tokens)]
        return [*found, *_freely(model, tokens, steps)] if model.denoiser.bidirectional else found
    return _freely(model, tokens, steps)


def _one_by_one(which: Order, order: str, block: int, tokens: int) -> list[DecodingMode]:
    one = {"steps": tokens}
    return [
        DecodingMode("a token a pass, cached", order, {**one, "sampler": Unmask(which, cache=True)}, tokens),
        DecodingMode("a token a pass, read anew", order, {**one, "sampler": Unmask(which, block=block)}, tokens),
    ]


PACES = {
    **{f"all above {least}": Threshold(least) for least in (0.9, 0.7, 0.5, 0.3)},
    **{f"{nats} nats a pass": EntropyBound(nats) for nats in (0.1, 0.5, 1.0)},
}


def _in_blocks(order: str, tokens: int) -> list[DecodingMode]:
    return [
        DecodingMode(f"{name}, cached", order, {"steps": tokens, "sampler": Unmask(Confidence(), pace, cache=True)}, 0)
        for name, pace in PACES.items()
    ]


def _freely(model: TextModel, tokens: int, steps: tuple[int, ...]) -> list[DecodingMode]:
    """All places open to begin with."""
    fewer = [each for each in steps if each < tokens]
    found = [
        DecodingMode(f"{each} steps", "any", {"sampler": Ancestral(), "grid": grid.uniform(each)}, each)
        for each in fewer
    ]
    if not isinstance(model.denoiser.process, Mask):
        many = DecodingMode(f"{tokens} steps", "any", {"sampler": Ancestral(), "grid": grid.uniform(tokens)}, tokens)
        half = max(1, tokens // 2)
        mended = DecodingMode(
            f"{half} steps, mended", "any", {"sampler": PredictorCorrector(), "grid": grid.uniform(half)}, 2 * half - 1
        )
        return [*found, many, mended]
    by_confidence = Confidence()
    one = {"steps": tokens}
    return [
        *found,
        DecodingMode("a token a pass, any order", "any", {"sampler": FirstHitting(), "steps": 1}, tokens),
        DecodingMode(
            "a token a pass, the surest first", "by confidence", {**one, "sampler": Unmask(by_confidence)}, tokens
        ),
        DecodingMode("all above 0.9", "by confidence", {**one, "sampler": Unmask(by_confidence, Threshold(0.9))}, 0),
        DecodingMode(
            "0.1 nats a pass", "by confidence", {**one, "sampler": Unmask(by_confidence, EntropyBound(0.1))}, 0
        ),
        *_apart(by_confidence, "the surest first", "by confidence"),
        *_apart(Random(), "any order", "any"),
        *_approximate_cache(model, tokens),
    ]


def _apart(which: Order, name: str, order: str) -> list[DecodingMode]:
    """Tokens that stand far apart say little of one another, so that many can be written at once. Rows need not wait
    for one another but at a few times of the grid."""
    return [
        DecodingMode(
            f"{nats:g} nats a pass, {places} apart, {name}",
            order,
            {"steps": 8, "sampler": Unmask(which, EntropyBound(nats), min_distance=places)},
            0,
        )
        for nats, places in ((12.0, 12), (40.0, 6))
    ]


def _approximate_cache(model: TextModel, tokens: int) -> list[DecodingMode]:
    """With the approximate cache, which is for networks that know no blocks."""
    if isinstance(model.denoiser, Blockwise):
        return []
    sampler = Unmask(Confidence(), Threshold(0.9), cache=True)
    settings = {"steps": tokens, "sampler": sampler, "cache_block": 32}
    return [DecodingMode("all above 0.9, blocks of 32, approximate cache", "by confidence, in blocks", settings, 0)]
