"""`/v1/audio/speech`, as OpenAI's clients send it: a text is said sentence by sentence, and sent as it is said.

    stream_format="audio"      the bytes of the file, WAV or PCM, each sentence as soon as those before it are sent
    stream_format="sse"        events `speech.audio.delta` with bytes in base64, then `speech.audio.done`

How long a text takes is known before it is said, so that a WAV file has its true length in its header, and the answer
its Content-Length, although the last sentence is not yet there. PCM is what OpenAI's clients play: 16 bits with a sign,
least byte first, 24,000 samples per second. Beside OpenAI's arguments there are those of `model.sample`: `steps`,
`guidance`, `seed`.

Each sentence is a job of the engine. Sentences of all requests share network calls where they are padded to the same
number of frames, for which there are a few (`padded_frames`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import count
from typing import Annotated, Any, Literal, NamedTuple

import torch.nn.functional as F
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from unmelt.data.resample import resample
from unmelt.data.wav import wav_header, wav_samples
from unmelt.model import SpeechModel
from unmelt.model.sentences import PAUSE, sentences
from unmelt.model.speech_request import SpeechRequest
from unmelt.serve.api_error import RETRY_AFTER, APIError, as_api_error, content_of
from unmelt.serve.engine import OverloadedError
from unmelt.serve.job import CancelledError
from unmelt.serve.service import Service

PCM_RATE = 24_000
"""Samples per second of PCM, which has no header that says it."""

AHEAD = 4
"""Sentences of a request that are said at a time, after the first, which is said alone so that it is there early."""

GUIDANCE = 2.0
"""Scale where none is asked for, as of `unmelt say`."""

NOBODY = "default"
"""The voice that is no particular one."""


class VoiceID(BaseModel):
    """A voice as an object."""

    id: str


class Speech(BaseModel):
    """Body of `/v1/audio/speech`."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = None
    input: str
    voice: str | VoiceID | None = None
    instructions: str | None = None
    response_format: Literal["wav", "pcm"] = "wav"
    speed: Annotated[float, Field(ge=0.25, le=4.0)] = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    seed: int | None = None
    steps: Annotated[int | None, Field(ge=1)] = None
    guidance: float | None = None


class Format(NamedTuple):
    """How sounds are sent.

    Args:
        kind: Its type on the web.
        sample_rate: Samples per second.
        size: Bytes of the samples.
        header: What stands before them.
    """

    kind: str
    sample_rate: int
    size: int
    header: bytes


def router(service: Service) -> APIRouter:
    """The route of speech.

    Args:
        service: Models and engine.

    Returns:
        The route.
    """
    routes = APIRouter()

    @routes.post("/v1/audio/speech")
    async def speech(body: Speech, client: Request) -> Any:
        model = service.model(body.model, SpeechModel)
        _check(service, body)
        asked = await run_in_threadpool(_request, model, body)
        service.engine.check_room(1)
        how = _format(model, asked, body.response_format)
        sounds = said(service, client, model, asked)
        first = await anext(sounds)  # whatever refuses the request does so before the answer begins
        parts = _bytes(first, sounds, model, how, asked.request.rows)
        if body.stream_format == "sse":
            characters = int(asked.request.condition.sequence_mask.sum())  # type: ignore[union-attr]
            return StreamingResponse(_events(parts, characters, sum(asked.lengths)), media_type="text/event-stream")
        headers = {"Content-Length": str(len(how.header) + how.size)}
        return StreamingResponse(_whole(parts), media_type=how.kind, headers=headers)

    return routes


def padded_frames(frames: int) -> int:
    """The number of frames to which a sentence is padded, so that others share its network calls.

    Args:
        frames: Those that it has.

    Returns:
        The next number of the form 2^k (4, 5, 6 or 7), of at least 16: at most a fifth of it is padding, beyond 16.
    """
    for k in count(2):
        for quarters in (4, 5, 6, 7):
            if quarters << k >= frames:
                return quarters << k
    raise AssertionError


async def said(
    service: Service, client: Request, model: SpeechModel, asked: SpeechRequest
) -> AsyncIterator[Float[Tensor, "1 samples"]]:
    """Say sentences, the first one alone, and then a few at a time while they are taken.

    Args:
        service: Models and engine.
        client: The HTTP request; when its client goes away, nothing more is said.
        model: The model.
        asked: The sentences, one a row.

    Returns:
        The sound of each sentence, in order. Of the first, all errors of `Service.sample`; the others wait for room.
    """
    samples = model.samples_of(asked)

    async def one(row: int) -> Tensor:
        part = asked[row : row + 1]
        request = part.padded(padded_frames(part.lengths[0])).request
        while True:
            try:
                return (await service.sample(client, model, request))[0, :, : samples[row]]
            except OverloadedError:
                if row == 0:
                    raise
                await asyncio.sleep(RETRY_AFTER)

    yield await one(0)
    begun: deque[asyncio.Task[Tensor]] = deque()
    try:
        for row in range(1, asked.request.rows):
            begun.append(asyncio.create_task(one(row)))
            if len(begun) == AHEAD:
                yield await begun.popleft()
        while begun:
            yield await begun.popleft()
    finally:
        for task in begun:
            task.cancel()


def _check(service: Service, body: Speech) -> None:
    """Refuse a body beyond the limits of the server, or what no model here can do."""
    limits = service.settings
    if len(body.input) > limits.prompt:
        raise APIError(400, f"a text of {len(body.input)} characters; at most {limits.prompt}", "input", "too_long")
    if not re.search(r"\w", body.input):
        raise APIError(400, "a text in which nothing is said; a word or more is needed", "input", "invalid_value")
    if (body.steps or 1) > limits.steps:
        raise APIError(400, f"steps={body.steps}; at most {limits.steps}", "steps", "invalid_value")
    if body.instructions:
        message = "models here take no instructions: a voice, a speed and a guidance scale say how a text is said"
        raise APIError(400, message, "instructions", "unsupported_value")


def _request(model: SpeechModel, body: Speech) -> SpeechRequest:
    """The request of a body: one row for each sentence."""
    voice = body.voice.id if isinstance(body.voice, VoiceID) else body.voice
    if voice not in model.classes:
        if voice not in (None, NOBODY):
            known = ", ".join(map(repr, (*model.classes, NOBODY)))
            raise APIError(400, f"there is no voice {voice!r}; there are {known}", "voice", "invalid_value")
        voice = None
    jumps = hasattr(model.denoiser, "jump") and getattr(model.denoiser, "guidance_range", None) is None
    usual = 1.0 if jumps else GUIDANCE
    given: Any = {"voice": voice, "speed": body.speed, "steps": body.steps, "seed": body.seed}
    guidance = usual if body.guidance is None else body.guidance
    return model.speech_request(sentences(body.input), **given, guidance=guidance)


def _format(model: SpeechModel, asked: SpeechRequest, name: Literal["wav", "pcm"]) -> Format:
    """How the sounds of a request are sent."""
    samples, pause = model.samples_of(asked), _pause(model)
    rate = PCM_RATE if name == "pcm" else model.sample_rate
    whole = sum(-(-(each + pause) * rate // model.sample_rate) for each in samples[:-1])
    size = 2 * (whole + -(-samples[-1] * rate // model.sample_rate))
    return Format(f"audio/{name}", rate, size, wav_header(size, 1, rate) if name == "wav" else b"")


def _pause(model: SpeechModel) -> int:
    return int(PAUSE * model.sample_rate)


async def _bytes(
    first: Tensor, rest: AsyncIterator[Tensor], model: SpeechModel, how: Format, rows: int
) -> AsyncIterator[bytes]:
    """The file in pieces: one for each sentence, with the pause after it."""

    def piece(x: Tensor, row: int) -> bytes:
        x = x if row == rows - 1 else F.pad(x, (0, _pause(model)))
        return wav_samples(resample(x, model.sample_rate, how.sample_rate))

    async with aclosing(rest):  # type: ignore[type-var]
        yield how.header + await run_in_threadpool(piece, first, 0)
        row = 0
        async for x in rest:
            row += 1
            yield await run_in_threadpool(piece, x, row)


async def _whole(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The file. An error on the way cuts it off, which clients see by its length."""
    try:
        async with aclosing(parts):  # type: ignore[type-var]
            async for part in parts:
                yield part
    except CancelledError:  # the client went away
        return


async def _events(parts: AsyncIterator[bytes], characters: int, frames: int) -> AsyncIterator[str]:
    """Server-sent events: the file in pieces, then what was read and made."""
    try:
        async with aclosing(parts):  # type: ignore[type-var]
            async for part in parts:
                yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()})
        usage = {"input_tokens": characters, "output_tokens": frames, "total_tokens": characters + frames}
        yield _event({"type": "speech.audio.done", "usage": usage})
    except Exception as error:
        yield _event({"type": "error", **content_of(as_api_error(error))})


def _event(content: dict[str, Any]) -> str:
    return f"event: {content['type']}\ndata: {json.dumps(content)}\n\n"
