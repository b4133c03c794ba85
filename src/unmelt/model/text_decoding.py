"""Which denoiser and which sampler decode a request for text.

A model trained in both modes decodes block-wise if the sampler does and no token is known after a gap; else with full
bidirectional attention. Where a token is known after a gap, an end of text in the gap does not end the row.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from unmelt.denoiser import ApproximateBlockCache, Autoregressive, Blockwise
from unmelt.drafting import SpeculativeSampler
from unmelt.errors import UsageError
from unmelt.model.base import SamplingPlan
from unmelt.model.request import SampleRequest
from unmelt.sampler import Ancestral, Restart, Sampler
from unmelt.sampler.tokens import Unmask

if TYPE_CHECKING:
    from unmelt.model.text_model import TextModel


def plan(model: TextModel, request: SampleRequest) -> SamplingPlan:
    """Select denoiser, sampler and grid.

    Args:
        model: The model.
        request: What is asked for, with the known tokens of each row.

    Returns:
        The denoiser (not yet guided), the sampler and its grid.

    Raises:
        UsageError: If the model decodes from left to right and the sampler does not, or the sampler is one of numbers.
    """
    grid = request.grid or model.grid
    grid = grid if request.steps is None else dataclasses.replace(grid, steps=request.steps)
    sampler, known = request.sampler or model.sampler, request.condition
    is_ahead = known is not None and known.known_tokens is not None
    is_ahead = is_ahead and model.canvas.known_after_gap(known.known_tokens)  # type: ignore[union-attr, arg-type]
    if is_ahead and isinstance(sampler, Unmask | SpeculativeSampler):
        sampler = dataclasses.replace(sampler, end_token=None)
    _check_sampler(sampler)
    if request.cache_block:
        return SamplingPlan(ApproximateBlockCache(model.denoiser, request.cache_block), sampler, grid)
    if not isinstance(model.denoiser, Autoregressive | Blockwise):
        return SamplingPlan(model.denoiser, sampler, grid)
    by_blocks = isinstance(sampler, SpeculativeSampler) or (
        isinstance(sampler, Unmask) and (sampler.cache or sampler.block == model.denoiser.block)
    )
    if isinstance(model.denoiser, Blockwise) and model.denoiser.also_bidirectional and (is_ahead or not by_blocks):
        if isinstance(sampler, Unmask) and by_blocks:
            sampler = dataclasses.replace(sampler, cache=False, block=None)
        return SamplingPlan(model.denoiser.as_bidirectional, sampler, grid)
    if not by_blocks:
        raise UsageError(
            f"{sampler} for a model that decodes from left to right, {model.denoiser.block} tokens at a time",
            "a sampler that does so too",
            "Unmask(cache=True)",
        )
    return SamplingPlan(model.denoiser, sampler, grid)


def _check_sampler(sampler: Sampler) -> None:
    """Refuse the library's samplers of numbers; samplers of others are taken at their word."""
    package = type(sampler).__module__
    if package.startswith("unmelt.sampler.") and not package.startswith("unmelt.sampler.tokens."):
        inner = sampler.sampler if isinstance(sampler, Restart) else sampler
        if not isinstance(inner, Ancestral):
            name = type(inner).__name__
            raise UsageError(
                f"{name}, a sampler of numbers, for text", "one of tokens", "sampler=um.sampler.tokens.Unmask()"
            )
