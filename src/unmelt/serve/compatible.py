"""Which rows may share a network call, whatever their times, steps, seeds, conditions and guidance scales."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from unmelt.condition import FIELDS, Condition
from unmelt.guidance import CFG
from unmelt.model.base import BaseModel
from unmelt.model.request import SampleRequest
from unmelt.sampler import Sampler
from unmelt.sampler.state import State


def with_scales_of_rows(model: BaseModel, request: SampleRequest) -> SampleRequest:
    """The same request with its guidance scale in the condition of each row, so that rows of any scale share a batch.

    Rows that are not guided have the scale 1 where that costs nothing (`CFG`).

    Args:
        model: The model to sample.
        request: The request.

    Returns:
        The request; itself if there is nothing to guide by, or it is guided by a function.
    """
    if callable(request.guidance) or request.scales is not None or not request.is_conditional:
        return request
    if request.guidance == 1 and not getattr(model.denoiser, "rows_are_independent", False):
        return request
    return replace(request, guidance=[float(request.guidance)] * request.rows)  # type: ignore[arg-type]


def batch_key(model: Any, denoiser: Any, sampler: Sampler, state: State) -> Hashable:
    """What rows that share a batch have in common.

    Args:
        model: The model that they are sampled from.
        denoiser: The denoiser, guided as the request asks.
        sampler: The sampler.
        state: The rows.

    Returns:
        A value that is equal for rows that may share a batch: of one model and sampler, under the same kind of
        guidance, of one shape and precision, with conditions that can be joined.
    """
    memory = tuple((name, value.shape[1:], value.dtype) for name, value in sorted(state.memory.items()))
    shapes = (tuple(state.x.shape[1:]), state.x.dtype, state.t.shape[1:], memory)
    return (id(model), _guidance(denoiser), _setting(sampler), shapes, _condition(state.condition))


def _guidance(denoiser: Any) -> Hashable:
    """Guidance by scales of rows is the same for all of an interval; any other wrapping is its own."""
    if type(denoiser) is CFG and denoiser.scale == 1:
        return ("CFG", tuple(denoiser.interval), _guidance(denoiser.denoiser))
    return id(denoiser)


def _setting(sampler: Sampler) -> Hashable:
    try:
        hash(sampler)
    except TypeError:
        return id(sampler)
    return sampler


def _condition(condition: Condition | None) -> Hashable:
    """The shapes that joined conditions must share: of all fields but sequences, which are padded."""
    if condition is None:
        return ()
    given = {name: getattr(condition, name) for name in FIELDS} | dict(condition.extra)
    known = {name: value for name, value in given.items() if value is not None}
    return tuple(
        (name, tuple(value.shape[2:] if name in ("sequence", "sequence_mask") else value.shape[1:]))
        for name, value in known.items()
    )
