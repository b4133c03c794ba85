"""`/v1/completions`, as OpenAI's clients send it; with `suffix`, text between two others.

Text is streamed as far as it is final from its beginning: a model that fills places in any order sends its first words
when they are there, whatever is known of later ones.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from unmelt.model import TextModel
from unmelt.model.request import SampleRequest
from unmelt.process import Mask
from unmelt.sampler.state import State
from unmelt.serve.api_error import APIError, as_api_error, content_of
from unmelt.serve.service import Service

BROKEN = "\ufffd"
"""What part of a character is decoded to."""


class Completion(BaseModel):
    """Body of `/v1/completions`."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = None
    prompt: str | list[str] = ""
    suffix: str | None = None
    max_tokens: Annotated[int | None, Field(ge=1)] = 16
    n: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float | None, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float | None, Field(gt=0, le=1)] = 1.0
    stop: str | list[str] | None = None
    seed: int | None = None
    steps: Annotated[int | None, Field(ge=1)] = None
    stream: bool = False
    echo: bool = False


def router(service: Service) -> APIRouter:
    """The routes of text.

    Args:
        service: Models and engine.

    Returns:
        The routes.
    """
    routes = APIRouter()

    @routes.post("/v1/completions")
    async def completions(body: Completion, client: Request) -> Any:
        model = service.model(body.model, TextModel)
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        _check(service, body, prompts)
        service.engine.check_room(body.n * len(prompts))
        if body.stream and (len(prompts) > 1 or body.n > 1):
            raise APIError(400, "a stream is of one text; n must be 1, with one prompt", "n", "invalid_value")
        request = await run_in_threadpool(_request, model, body, prompts)
        about = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time())}
        about["model"] = next(name for name, each in service.models.items() if each is model)
        if body.stream:
            states = service.states(client, model, request)
            events = _events(states, model, request, body, prompts[0], about)
            return StreamingResponse(events, media_type="text/event-stream")
        tokens = await service.sample(client, model, request)
        asked = [prompt for prompt in prompts for _ in range(body.n)]
        choices = []
        for index, (row, prompt) in enumerate(zip(tokens, asked, strict=True)):
            text, reason = _written(model, request, index, row, prompt, body)
            choices.append({"index": index, "text": text, "finish_reason": reason, "logprobs": None})
        known = _known(request)
        before, made = int((known >= 0).sum()), int((known < 0).sum())
        usage = {"prompt_tokens": before, "completion_tokens": made, "total_tokens": before + made}
        return {**about, "choices": choices, "usage": usage}

    return routes


def _check(service: Service, body: Completion, prompts: list[str]) -> None:
    limits = service.settings
    rows = body.n * len(prompts)
    if not prompts or rows > limits.samples:
        raise APIError(400, f"{rows} texts; from 1 to {limits.samples}", "n", "invalid_value")
    longest = max(len(text) for text in (*prompts, body.suffix or ""))
    if longest > limits.prompt:
        raise APIError(400, f"a text of {longest} characters; at most {limits.prompt}", "prompt", "too_long")
    if (body.steps or 1) > limits.steps:
        raise APIError(400, f"steps={body.steps}; at most {limits.steps}", "steps", "invalid_value")


def _request(model: TextModel, body: Completion, prompts: list[str]) -> SampleRequest:
    """The request of a body: rows of one length, the shortest that gives every prompt its tokens."""
    suffix, most = body.suffix or "", body.max_tokens
    encode = model.tokenizer.encode
    taken = max(len(encode(prompt)) for prompt in prompts) + len(encode(suffix))
    length = (
        model.length if most is None else min(model.length, taken + most + (2 if suffix and model.fills_middle else 0))
    )
    return model.request(
        body.n * len(prompts),
        prompt=[prompt for prompt in prompts for _ in range(body.n)],
        suffix=suffix,
        length=length,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=body.seed,
        steps=body.steps,
    )


def _written(
    model: TextModel, request: SampleRequest, row: int, tokens: Tensor, prompt: str, body: Completion
) -> tuple[str, str]:
    """The text between prompt and suffix, cut at a stop, and why it ends."""
    known = _known(request)[row].tolist()
    whole = model.canvas.read(tokens.tolist(), known)
    text = whole.removeprefix(prompt).removesuffix(body.suffix or "")
    text, stopped = _cut(text, body.stop)
    ended = stopped or len(model.tokenizer.encode(text)) < known.count(-1)
    return (prompt + text if body.echo else text), "stop" if ended else "length"


def _known(request: SampleRequest) -> Tensor:
    """[rows, length], the tokens that are known, -1 where one is not."""
    assert request.condition is not None
    assert request.condition.known_tokens is not None
    return request.condition.known_tokens


def _cut(text: str, stop: str | list[str] | None) -> tuple[str, bool]:
    """The text up to the first stop, and whether there is one."""
    stops = [stop] if isinstance(stop, str) else stop or []
    found = [at for each in stops if each and (at := text.find(each)) >= 0]
    return (text[: min(found)], True) if found else (text, False)


async def _events(
    states: AsyncIterator[State | Tensor],
    model: TextModel,
    request: SampleRequest,
    body: Completion,
    prompt: str,
    about: dict[str, Any],
) -> AsyncIterator[str]:
    """Server-sent events: text that is final, then the end."""

    def event(text: str, reason: str | None = None) -> str:
        choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
        return f"data: {json.dumps({**about, 'choices': [choice]})}\n\n"

    sent = prompt if body.echo else ""
    try:
        if sent:
            yield event(sent)
        async for state in states:
            if isinstance(state, Tensor):
                text, reason = _written(model, request, 0, state[0], prompt, body)
                yield event(text[len(sent) :], reason)
                break
            ready = (prompt if body.echo else "") + _cut(_beginning(model, request, state.x[0], prompt), body.stop)[0]
            if len(ready) > len(sent) and ready.startswith(sent):
                yield event(ready[len(sent) :])
                sent = ready
        yield "data: [DONE]\n\n"
    except Exception as error:
        yield f"data: {json.dumps(content_of(as_api_error(error)))}\n\n"


def _beginning(model: TextModel, request: SampleRequest, tokens: Tensor, prompt: str) -> str:
    """The text after the prompt that no further step changes: up to the first mask, in whole characters."""
    process, known = model.denoiser.process, _known(request)[0]
    if not isinstance(process, Mask) or model.fills_middle:  # tokens that change again, or stand in another order
        return ""
    open_places = process.masked(tokens).cpu() & (known < 0)
    gap = (known < 0).nonzero().flatten().tolist()
    first = int(open_places.nonzero()[0]) if open_places.any() else gap[-1] + 1
    text = model.canvas.read(tokens.tolist()[:first], known.tolist()[:first])
    return text.removeprefix(prompt).rstrip(BROKEN) if text.startswith(prompt) else ""
