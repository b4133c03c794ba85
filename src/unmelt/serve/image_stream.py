"""A picture as a stream of server-sent events: what it looks like on its way, then the picture.

Events are those of OpenAI's API: `image_generation.partial_image` and `image_generation.completed`, or the same of
`image_edit`.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, TypeAlias

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from unmelt.model import Model
from unmelt.model.picture_size import picture_shape
from unmelt.model.request import SampleRequest
from unmelt.sampler.state import State
from unmelt.serve.api_error import as_api_error, content_of
from unmelt.serve.service import Service

MOST_PARTIAL = 100
"""Pictures on the way that a stream may have; clients of OpenAI's ask for up to 3."""

Partial: TypeAlias = Literal["belief", "noisy"]
"""What a picture on the way shows: what the model believes then, or the picture in its noise."""

Finish: TypeAlias = Callable[[Tensor | None], Tensor]
"""Makes the picture of what was sampled; of None where nothing was."""


async def picture_stream(
    service: Service,
    client: Request,
    model: Model,
    request: SampleRequest | None,
    *,
    kind: Literal["image_generation", "image_edit"],
    pictures: int,
    partial: Partial,
    finish: Finish | None = None,
) -> StreamingResponse:
    """Stream a picture.

    Args:
        service: Models and engine.
        client: The HTTP request.
        model: The model.
        request: What is asked for, one row; None for what needs no sampling.
        kind: What the events are called.
        pictures: Pictures on the way, at even steps before the last; fewer where there are fewer steps.
        partial: What they show.
        finish: Makes the picture of the sample. None: the sample is the picture.

    Returns:
        The stream.
    """
    moments: list[float] = []
    end = 0.0
    states: AsyncIterator[State | Tensor | None] = _nothing()
    if request is not None:
        prepared = await run_in_threadpool(model.prepare, request)
        times = [float(time[0]) for time in prepared.times]
        moments, end = _moments(times, pictures), times[-1]
        states = service.states(client, model, request)
    common: dict[str, Any] = {"created_at": int(time.time()), "output_format": "png", "size": "auto"}
    common |= {"background": "opaque", "quality": "auto"}
    if request is None or request.shape is None:
        _, high, wide = picture_shape(model)
        common["size"] = f"{wide}x{high}"

    async def events() -> AsyncIterator[str]:
        sent = 0
        try:
            async for state in states:
                if not isinstance(state, State):
                    made = state if finish is None else finish(state)
                    assert made is not None
                    picture = await run_in_threadpool(png_base64, made[0])
                    yield _event(f"{kind}.completed", {**common, "b64_json": picture, "usage": _usage()})
                elif sent < len(moments) and end < float(state.t[0]) <= moments[sent]:
                    frame = await run_in_threadpool(model.frame, state)
                    shown = frame.x0 if partial == "belief" else frame.x
                    picture = await run_in_threadpool(png_base64, shown[0])
                    yield _event(f"{kind}.partial_image", {**common, "b64_json": picture, "partial_image_index": sent})
                    sent += 1
        except Exception as error:
            yield _event("error", content_of(as_api_error(error)))

    return StreamingResponse(events(), media_type="text/event-stream")


def png_base64(x: Float[Tensor, "channels height width"]) -> str:
    """Write a picture as PNG.

    Args:
        x: [channels, height, width], in [0, 1].

    Returns:
        The file in base64.
    """
    pixels = (x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if len(x) == 1 else pixels).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


async def _nothing() -> AsyncIterator[None]:
    yield None


def _moments(times: list[float], number: int) -> list[float]:
    """Times at which so many pictures are sent."""
    steps = len(times)
    places = {round(steps * (place + 1) / (number + 1)) - 1 for place in range(number)}
    return [times[place] for place in sorted(places & set(range(steps - 1)))]


def _usage() -> dict[str, Any]:
    """Tokens are not what pictures cost here; clients expect the field."""
    return {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "input_tokens_details": {}}


def _event(kind: str, content: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **content})}\n\n"
