"""Servers of the same models: unmelt's, one request at a time, and LitServe. Started by bench/serving.py.

    python bench/serving_servers.py unmelt|one|litserve|ray --port PORT --models digits code

All use one thread for the network. The second takes requests in the order of arrival, each by `model.sample`.
The third collects up to 32 requests in LitServe's batches and samples together those that `model.sample` can: of one
model, with the same number of steps and, for text, of tokens. The fourth is unmelt's in two replicas of Ray Serve.
"""

import argparse
import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import unmelt as um
from unmelt.serve import EngineLimits, ServerSettings
from unmelt.serve.image_stream import png_base64
from unmelt.shipped import PLACE

BATCH = 32


def place(name: str) -> Path:
    """Where a model is that comes with unmelt, by its own name or as one of the lab."""
    return PLACE / "lab" / name if name == "code" else Path(name)


def loaded(name: str) -> Any:
    """The same model."""
    return um.load(place(name), "cpu")


def kind(body: dict[str, Any]) -> tuple[Any, ...]:
    """What requests must share to be sampled together."""
    if "max_tokens" in body:
        return body["model"], body["max_tokens"]
    return body["model"], body["steps"], "guidance" in body


def answers(models: dict[str, Any], bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sample requests of one kind by a single call."""
    first = bodies[0]
    model, rows = models[first["model"]], len(bodies)
    prompts, seeds = [body["prompt"] for body in bodies], [body["seed"] for body in bodies]
    if "max_tokens" in first:
        length = max(len(model.tokenizer.encode(prompt)) for prompt in prompts) + first["max_tokens"]
        texts = model.sample(rows, prompt=prompts, length=length, seed=seeds)
        return [{"text": text[len(prompt) :]} for text, prompt in zip(texts, prompts, strict=True)]
    said: dict[str, Any] = {"label": prompts} if model.encoder is None else {"prompt": prompts}
    if "guidance" in first:
        said["guidance"] = [body["guidance"] for body in bodies]
    pictures = model.sample(rows, steps=first["steps"], seed=seeds, **said)
    return [{"b64_json": png_base64(picture)} for picture in pictures]


def of_unmelt(models: dict[str, Any], options: argparse.Namespace) -> None:
    import uvicorn

    from unmelt.serve.app import application

    limits = EngineLimits(batch=BATCH, rows=options.rows, queue=options.queue)
    app = application(models, ServerSettings(engine=limits, seconds=3600.0))
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="error")


def in_replicas(options: argparse.Namespace) -> None:
    from unmelt.serve import replicas

    limits = EngineLimits(batch=BATCH, rows=options.rows, queue=options.queue)
    folders = {name: place(name) for name in options.models}
    settings = ServerSettings(engine=limits, seconds=3600.0)
    replicas.run(folders, settings, replicas=(2, 2), port=options.port, device="cpu")


def one_at_a_time(models: dict[str, Any], options: argparse.Namespace) -> None:
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool

    app, turn = FastAPI(), asyncio.Lock()

    @app.get("/health")
    async def health() -> Any:
        return {}

    @app.post("/predict")
    async def predict(client: Request) -> Any:
        body = await client.json()
        async with turn:  # first in, first out
            return (await run_in_threadpool(answers, models, [body]))[0]

    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="error")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", choices=["unmelt", "one", "litserve", "ray"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--queue", type=int, default=4096)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.server == "litserve":
        import serving_litserve

        serving_litserve.run(options)
        return
    if options.server == "ray":
        in_replicas(options)
        return
    serve = {"unmelt": of_unmelt, "one": one_at_a_time}[options.server]
    with contextlib.suppress(KeyboardInterrupt):
        serve({name: loaded(name) for name in options.models}, options)


if __name__ == "__main__":
    main()
