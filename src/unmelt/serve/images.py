"""`/v1/images/generations` and `/v1/images/edits`, as OpenAI's clients send them.

Beside OpenAI's arguments there are those of `model.sample`: `steps`, `guidance`, `seed`, `label`, `plan`, `negative`,
`control` (a PNG in base64), `control_scale`. A model that learned classes and no captions takes the name of a class as
its prompt.
"""

from __future__ import annotations

import re
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from unmelt.modality import Images
from unmelt.model import Model, painting
from unmelt.model.mask import mask_rows
from unmelt.model.request import SampleRequest, Start
from unmelt.serve.api_error import APIError
from unmelt.serve.image_stream import MOST_PARTIAL, Finish, Partial, picture_stream, png_base64
from unmelt.serve.service import Service
from unmelt.serve.uploaded import MOST_SIDE, LargeFields, control_of, controls_in, mask_of, pixels_of


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
    partial: Partial = "belief"
    seed: int | None = None
    steps: Annotated[int | None, Field(ge=1)] = None
    guidance: float | None = None
    label: str | int | None = None
    plan: bool | str | None = None
    negative: str = ""
    control: str | Mapping[str, str | None] | None = None
    control_scale: float | Mapping[str, float] | None = None


def router(service: Service) -> APIRouter:
    """The routes of pictures.

    Args:
        service: Models and engine.

    Returns:
        The routes.
    """
    routes = APIRouter(route_class=LargeFields)

    async def streamed(
        client: Request,
        model: Model,
        request: SampleRequest | None,
        body: Generation,
        kind: Literal["image_generation", "image_edit"],
        finish: Finish | None = None,
    ) -> Any:
        if body.n != 1:
            raise APIError(400, "a stream is of one picture; n must be 1", "n", "invalid_value")
        shown: Any = {"kind": kind, "pictures": body.partial_images, "partial": body.partial, "finish": finish}
        return await picture_stream(service, client, model, request, **shown)

    @routes.post("/v1/images/generations")
    async def generations(body: Generation, client: Request) -> Any:
        model = service.model(body.model, Model)
        _check(service, model, body)
        service.engine.check_room(body.n)
        request = await run_in_threadpool(_request, model, body)
        if body.stream:
            return await streamed(client, model, request, body, "image_generation")
        made = await service.sample(client, model, request)
        return await run_in_threadpool(_answer, made, body.response_format)

    @routes.post("/v1/images/edits")
    async def edits(
        client: Request,
        image: Annotated[UploadFile | None, File()] = None,
        images: Annotated[list[UploadFile] | None, File(alias="image[]")] = None,
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
        negative: Annotated[str, Form()] = "",
        strength: Annotated[float, Form(gt=0, le=1)] = 0.6,
        stream: Annotated[bool, Form()] = False,
        partial_images: Annotated[int, Form(ge=0, le=MOST_PARTIAL)] = 0,
        partial: Annotated[Partial, Form()] = "belief",
    ) -> Any:
        chosen = service.model(model, Model)
        settings: Any = {"prompt": prompt, "n": n, "seed": seed, "steps": steps, "guidance": guidance, "label": label}
        shown: Any = {"stream": stream, "partial_images": partial_images, "partial": partial}
        settings |= {"plan": _said(plan), "negative": negative, **controls_in(await client.form())}
        try:
            body = Generation(**settings, **shown)
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from None
        _check(service, chosen, body)
        service.engine.check_room(n)
        given = [each for each in (image, *(images or ())) if each is not None]
        if len(given) != 1:
            raise APIError(400, f"{len(given)} images; one is edited at a time", "image", "invalid_value")
        picture = await given[0].read()
        covering = None if mask is None else await mask.read()
        request = await run_in_threadpool(_request, chosen, body)
        x = await run_in_threadpool(pixels_of, chosen, picture)
        x = x.expand(n, *x.shape[1:])
        parts: Sequence[tuple[SampleRequest | None, Finish]]
        if covering is None:
            parts = [(replace(request, start=Start(x=x, strength=strength)), _as_made)]
        else:
            covered = mask_rows(await run_in_threadpool(mask_of, chosen, covering, picture), x)
            parts = await run_in_threadpool(painting.painted_rows, chosen, x, covered, request, 1.0, painting.RESAMPLES)
        if stream:
            asked, finish = parts[0]
            return await streamed(client, chosen, asked, body, "image_edit", finish)
        made = [finish(None if part is None else await service.sample(client, chosen, part)) for part, finish in parts]
        return await run_in_threadpool(_answer, torch.cat(made), response_format)

    return routes


def _said(plan: str | None) -> bool | str | None:
    """A plan as a field of a form says it: true, false, or the plan itself."""
    return {"": None, "true": True, "false": False}.get((plan or "").strip().lower(), plan)


def _check(service: Service, model: Model, body: Generation) -> None:
    """Refuse a body beyond the limits of the server."""
    limits = service.settings
    if not isinstance(model.modality, Images):
        raise APIError(400, f"this model makes {model.modality.name}", "model", "invalid_value")
    for name, given, most in (("n", body.n, limits.samples), ("steps", body.steps or 1, limits.steps)):
        if given > most:
            raise APIError(400, f"{name}={given}; at most {most}", name, "invalid_value")
    for name, text in (("prompt", body.prompt), ("negative", body.negative)):
        if len(text) > limits.prompt:
            raise APIError(400, f"a {name} of {len(text)} characters; at most {limits.prompt}", name, "too_long")


def _request(model: Model, body: Generation) -> SampleRequest:
    """The request of a body."""
    settings: dict[str, Any] = {"steps": body.steps, "seed": body.seed, "size": _size(body.size)}
    if body.label is not None:
        settings["label"] = body.label
    if model.encoder is not None:
        settings |= {"prompt": body.prompt, "plan": body.plan or None, "negative": body.negative or None}
    elif model.classes and body.label is None and body.prompt:
        settings["label"] = body.prompt
    if body.guidance is not None:
        settings["guidance"] = body.guidance
    return model.request(body.n, **settings, **control_of(model, body.control, body.control_scale))


def _size(size: str | None) -> tuple[int, int] | None:
    """Height and width from WIDTHxHEIGHT; None for the model's own."""
    if size in (None, "auto"):
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(size))
    if found is None or max(int(found[1]), int(found[2])) > MOST_SIDE:
        raise APIError(400, f"size={size!r}; WIDTHxHEIGHT in pixels, such as 32x32, or auto", "size", "invalid_value")
    return int(found[2]), int(found[1])


def _as_made(made: Tensor | None) -> Tensor:
    assert made is not None
    return made


def _answer(made: Tensor, response_format: str) -> dict[str, Any]:
    if response_format == "url":
        data = [{"url": f"data:image/png;base64,{png_base64(x)}"} for x in made]
    else:
        data = [{"b64_json": png_base64(x)} for x in made]
    return {"created": int(clock.time()), "data": data}
