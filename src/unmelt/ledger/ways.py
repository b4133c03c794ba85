"""The ways in which a model of text can write, each with the settings that it is asked with."""

from typing import Any, NamedTuple

from unmelt.model import TextModel
from unmelt.process import Mask
from unmelt.sampler import Ancestral, grid
from unmelt.sampler.tokens import Bounded, Confidence, FirstHitting, LeftToRight, Threshold, Unmask


class Way(NamedTuple):
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


def ways(model: TextModel, tokens: int, steps: tuple[int, ...]) -> list[Way]:
    """All that this model can do for so many tokens."""
    if model.goes_on:
        order = "left to right" if model.denoiser.block == 1 else f"left to right, in blocks of {model.denoiser.block}"
        every = {"steps": tokens}
        anew = Unmask(LeftToRight(), block=1) if model.denoiser.block == 1 else Unmask(block=model.denoiser.block)
        return [
            Way("a token a pass, cached", order, {**every, "sampler": Unmask(LeftToRight(), cache=True)}, tokens),
            Way("a token a pass, read anew", order, {**every, "sampler": anew}, tokens),
        ]
    fewer = [each for each in steps if each < tokens]
    found = [Way(f"{each} steps", "any", {"sampler": Ancestral(), "grid": grid.uniform(each)}, each) for each in fewer]
    if not isinstance(model.denoiser.process, Mask):
        return [*found, Way(f"{tokens} steps", "any", {"sampler": Ancestral(), "grid": grid.uniform(tokens)}, tokens)]
    by_confidence = Confidence()
    one = {"steps": tokens}
    return [
        *found,
        Way("a token a pass, any order", "any", {"sampler": FirstHitting(), "steps": 1}, tokens),
        Way("a token a pass, the surest first", "by confidence", {**one, "sampler": Unmask(by_confidence)}, tokens),
        Way("all above 0.9", "by confidence", {**one, "sampler": Unmask(by_confidence, Threshold(0.9))}, 0),
        Way("0.1 nats a pass", "by confidence", {**one, "sampler": Unmask(by_confidence, Bounded(0.1))}, 0),
        Way(
            "all above 0.9, blocks of 32, approximate cache",
            "by confidence, in blocks",
            {**one, "sampler": Unmask(by_confidence, Threshold(0.9), cache=True), "hasty": 32},
            0,
        ),
    ]
