"""`/v1/images/generations` and `/v1/images/edits`, as OpenAI's clients send them.

Beside OpenAI's arguments there are those of `model.sample`: `steps`, `guidance`, `seed`, `label`, `plan`. A model that
learned classes and no captions takes the name of a class as its prompt.
"""

from __future__ import annotations

import base64
import io
import json
import re
import time as clock
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from unmelt.data.crop import reason, square
from unmelt.modality import Images
from unmelt.model import Model, painting
from unmelt.model.mask import mask_rows
from unmelt.model.picture_size import picture_shape
from unmelt.model.request import SampleRequest, Start
from unmelt.sampler.state import State
from unmelt.serve.api_error import APIError, as_api_error, content_of
from unmelt.serve.service import Service

MOST_SIDE = 4096
"""Pixels of the longest side that can be asked for."""


MOST_PARTIAL = 100
"""Pictures on the way that a stream may have; clients of OpenAI's ask for up to 3."""


class Generation(BaseModel):
    """Body of `/v1/images/generations`."""

    model_config = ConfigDict(extra="ignore")

    prompt: str
    model: str | None = None
    n: Annotated[int, Field(ge=1)] = 1
    size: str | None = None
    response_format: Literal["b64_json", "url"] = "b64_json"
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=MOST_PARTIAL)] = 0
    partial: Literal["belief", "noisy"] = "belief"
    seed: int | None = None
    steps: Annotated[int | None, Field(ge=1)] = None
    guidance: float | None = None
    label: str | int | None = None
    plan: bool | str | None = None


def router(service: Service) -> APIRouter:
    """The routes of pictures.

    Args:
        service: Models and engine.

    Returns:
        The routes.
    """
    routes = APIRouter()

    @routes.post("/v1/images/generations")
    async def generations(body: Generation, client: Request) -> Any:
        model = service.model(body.model, Model)
        request = await run_in_threadpool(_request, service, model, body)
        if body.stream:
            if body.n != 1:
                raise APIError(400, "a stream is of one picture; n must be 1", "n", "invalid_value")
            times = [float(time[0]) for time in (await run_in_threadpool(model.prepare, request)).times]
            states = service.states(client, model, request)
            moments = _moments(times, body.partial_images)
            events = _events(model, request, states, moments, body.partial, "image_generation")
            return StreamingResponse(events, media_type="text/event-stream")
        made = await service.sample(client, model, request)
        return await run_in_threadpool(_answer, made, body.response_format)

    @routes.post("/v1/images/edits")
    async def edits(
        client: Request,
        image: Annotated[UploadFile, File()],
        prompt: Annotated[str, Form()] = "",
        mask: Annotated[UploadFile | None, File()] = None,
        model: Annotated[str | None, Form()] = None,
        n: Annotated[int, Form(ge=1)] = 1,
        response_format: Annotated[Literal["b64_json", "url"], Form()] = "b64_json",
        seed: Annotated[int | None, Form()] = None,
        steps: Annotated[int | None, Form(ge=1)] = None,
        guidance: Annotated[float | None, Form()] = None,
        label: Annotated[str | None, Form()] = None,
        plan: Annotated[str | None, Form()] = None,
        strength: Annotated[float, Form(gt=0, le=1)] = 0.6,
    ) -> Any:
        chosen = service.model(model, Model)
        body = Generation(prompt=prompt, n=n, seed=seed, steps=steps, guidance=guidance, label=label, plan=plan or None)
        picture = await image.read()
        covering = None if mask is None else await mask.read()
        request = await run_in_threadpool(_request, service, chosen, body)
        x = await run_in_threadpool(_pixels, chosen, picture)
        x = x.expand(n, *x.shape[1:])
        if covering is None:
            made = await service.sample(client, chosen, replace(request, start=Start(x=x, strength=strength)))
            return await run_in_threadpool(_answer, made, response_format)
        covered = mask_rows(await run_in_threadpool(_mask, chosen, covering, picture), x)
        parts = await run_in_threadpool(painting.painted_rows, chosen, x, covered, request, 1.0, painting.RESAMPLES)
        made = torch.cat(
            [finish(None if asked is None else await service.sample(client, chosen, asked)) for asked, finish in parts]
        )
        return await run_in_threadpool(_answer, made, response_format)

    return routes


def _request(service: Service, model: Model, body: Generation) -> SampleRequest:
    """The request of a body, within the limits of the server."""
    limits = service.settings
    if not isinstance(model.modality, Images):
        raise APIError(400, f"this model makes {model.modality.name}", "model", "invalid_value")
    for name, given, most in (("n", body.n, limits.samples), ("steps", body.steps or 1, limits.steps)):
        if given > most:
            raise APIError(400, f"{name}={given}; at most {most}", name, "invalid_value")
    if len(body.prompt) > limits.prompt:
        raise APIError(400, f"a prompt of {len(body.prompt)} characters; at most {limits.prompt}", "prompt", "too_long")
    settings: dict[str, Any] = {"steps": body.steps, "seed": body.seed, "size": _size(body.size)}
    if body.label is not None:
        settings["label"] = body.label
    if model.encoder is not None:
        settings |= {"prompt": body.prompt, "plan": body.plan or None}
    elif model.classes and body.label is None and body.prompt:
        settings["label"] = body.prompt
    if body.guidance is not None:
        settings["guidance"] = body.guidance
    return model.request(body.n, **settings)


def _size(size: str | None) -> tuple[int, int] | None:
    """Height and width from WIDTHxHEIGHT; None for the model's own."""
    if size in (None, "auto"):
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(size))
    if found is None or max(int(found[1]), int(found[2])) > MOST_SIDE:
        raise APIError(400, f"size={size!r}; WIDTHxHEIGHT in pixels, such as 32x32, or auto", "size", "invalid_value")
    return int(found[2]), int(found[1])


def _pixels(model: Model, content: bytes) -> Tensor:
    """[1, channels, height, width] in [0, 1], cropped and resized to the model's size."""
    channels, _, side = picture_shape(model)
    _opened(content, "image")
    return _square(content, side, channels, "image")


def _mask(model: Model, content: bytes, picture: bytes) -> Tensor:
    """[height, width], 1 where a picture is made anew: where the mask is transparent, or white if it has no alpha."""
    image, size = _opened(content, "mask"), _opened(picture, "image").size
    if image.size != size:
        pair = " and a picture of ".join(f"{wide} x {high}" for wide, high in (image.size, size))
        raise APIError(400, f"a mask of {pair} pixels, which must be equal", "mask", "invalid_image")
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    try:
        grey = 255 - np.asarray(image.convert("RGBA"))[:, :, 3] if has_alpha else np.asarray(image.convert("L"))
    except Exception as error:  # decoders raise anything
        raise APIError(400, f"mask cannot be read ({reason(error)})", "mask", "invalid_image") from None
    plain = io.BytesIO()
    Image.fromarray(grey).save(plain, "PNG")
    return _square(plain.getvalue(), picture_shape(model)[-1], 1, "mask")[0, 0]


def _opened(content: bytes, name: str) -> Image.Image:
    """An image of which the header alone is read."""
    try:
        image = Image.open(io.BytesIO(content))
    except Exception as error:  # decoders raise anything
        raise APIError(400, f"{name} cannot be read ({reason(error)})", name, "invalid_image") from None
    if max(image.size) > MOST_SIDE:
        raise APIError(
            400, f"{name} has a side of {max(image.size)} pixels; at most {MOST_SIDE}", name, "invalid_image"
        )
    return image


def _square(content: bytes, side: int, channels: int, name: str) -> Tensor:
    """[1, channels, side, side] in [0, 1]: cropped and resized as training data are."""
    try:
        pixels = square(content, side, channels)
    except Exception as error:  # decoders raise anything
        raise APIError(400, f"{name} cannot be read ({reason(error)})", name, "invalid_image") from None
    return torch.from_numpy(pixels.copy())[None].float() / 255


def _encoded(x: Tensor) -> str:
    """A picture [channels, height, width] in [0, 1] as PNG in base64."""
    pixels = (x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if len(x) == 1 else pixels).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def _answer(made: Tensor, response_format: str) -> dict[str, Any]:
    if response_format == "url":
        data = [{"url": f"data:image/png;base64,{_encoded(x)}"} for x in made]
    else:
        data = [{"b64_json": _encoded(x)} for x in made]
    return {"created": int(clock.time()), "data": data}


def _moments(times: list[float], number: int) -> list[float]:
    """Times at which so many pictures are sent, at even steps before the last; fewer where there are fewer steps."""
    steps = len(times)
    places = {round(steps * (place + 1) / (number + 1)) - 1 for place in range(number)}
    return [times[place] for place in sorted(places & set(range(steps - 1)))]


async def _events(
    model: Model,
    request: SampleRequest,
    states: AsyncIterator[State | Tensor],
    moments: list[float],
    partial: str,
    kind: str,
) -> AsyncIterator[str]:
    """Server-sent events: the picture at some times on its way, or what the model believes then; then the picture."""
    high, wide = picture_shape(model)[1:] if request.shape is None else (0, 0)
    common = {"created_at": int(clock.time()), "output_format": "png", "background": "opaque", "quality": "auto"}
    common["size"] = f"{wide}x{high}" if high else "auto"
    sent = 0
    try:
        async for state in states:
            if isinstance(state, Tensor):
                picture = await run_in_threadpool(_encoded, state[0])
                yield _event(f"{kind}.completed", {**common, "b64_json": picture, "usage": _usage()})
                return
            if sent < len(moments) and float(state.t[0]) <= moments[sent]:
                frame = await run_in_threadpool(model.frame, state)
                picture = await run_in_threadpool(_encoded, (frame.x0 if partial == "belief" else frame.x)[0])
                yield _event(f"{kind}.partial_image", {**common, "b64_json": picture, "partial_image_index": sent})
                sent += 1
    except Exception as error:
        yield _event("error", content_of(as_api_error(error)))


def _usage() -> dict[str, Any]:
    """Tokens are not what pictures cost here; clients expect the field."""
    return {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "input_tokens_details": {}}


def _event(kind: str, content: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **content})}\n\n"
