"""The models of a server and the engine that samples them, as requests of clients use them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias, final

from fastapi import Request
from torch import Tensor

from unmelt.model import Model, SpeechModel, TextModel
from unmelt.model.request import SampleRequest
from unmelt.sampler.state import State
from unmelt.serve.api_error import APIError
from unmelt.serve.engine import Engine
from unmelt.serve.job import Job
from unmelt.serve.settings import ServerSettings

Servable: TypeAlias = Model | TextModel | SpeechModel
"""What a server can sample."""


@final
class Service:
    """Models by name, and an engine in a thread of its own.

    Args:
        models: The models by the names that clients use.
        settings: What clients may ask for.
    """

    def __init__(self, models: Mapping[str, Servable], settings: ServerSettings) -> None:
        self.models, self.settings, self.started = dict(models), settings, int(time.time())
        self.engine = Engine(settings.engine, deterministic=settings.deterministic)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.engine.run, args=(self._stop,), name="engine", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def close(self) -> None:
        """End the engine's thread after the step that it is taking."""
        self._stop.set()
        self._thread.join()

    def model(self, name: str | None, kind: type) -> Any:
        """Find a model by name.

        Args:
            name: What the client asked for; None for the first of its kind.
            kind: What it must be able to make: Model (pictures), TextModel or SpeechModel.

        Returns:
            The model.

        Raises:
            APIError: If there is no such model.
        """
        fitting = [each for each, model in self.models.items() if isinstance(model, kind)]
        chosen = (fitting[0] if fitting else None) if name is None else name
        if chosen not in fitting:
            known = ", ".join(fitting) or "none"
            raise APIError(404, f"there is no model {name!r} for this; there are: {known}", "model", "model_not_found")
        return self.models[chosen]

    async def sample(self, client: Request, model: Servable, request: SampleRequest) -> Tensor:
        """Sample a request, and give it up if its client goes away.

        Args:
            client: The HTTP request.
            model: The model.
            request: What is asked for.

        Returns:
            The rows.

        Raises:
            TimeoutError: If it takes longer than it may.
        """
        job = self.engine.submit(model, request)
        try:
            await self._finished(client, job)
            return job.result(0.0)
        finally:
            job.cancel()

    def states(self, client: Request, model: Servable, request: SampleRequest) -> AsyncIterator[State | Tensor]:
        """Sample a request step by step, and give it up if its client goes away.

        The request is taken on, or refused, at once: a stream that was promised begins.

        Args:
            client: The HTTP request.
            model: The model.
            request: What is asked for.

        Returns:
            The state after each step, but for those that came faster than they were taken; at last, the rows. Raises
            a TimeoutError if it takes longer than it may.
        """
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        newest: list[State] = []

        def seen(state: State) -> None:
            newest[:] = [state]
            loop.call_soon_threadsafe(changed.set)

        job = self.engine.submit(model, request, seen)
        waiter = asyncio.create_task(self._finished(client, job))
        waiter.add_done_callback(lambda _: changed.set())

        async def found() -> AsyncIterator[State | Tensor]:
            try:
                while not waiter.done():
                    await changed.wait()
                    changed.clear()
                    if newest and not waiter.done():
                        yield newest.pop()
                await waiter
                yield job.result(0.0)
            finally:
                waiter.cancel()
                job.cancel()

        return found()

    async def _finished(self, client: Request, job: Job) -> None:
        """Wait for a job; cancel it if its client goes away, or its time is up."""
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(done.set)

        job.when_finished(tell)
        finished, gone = asyncio.create_task(done.wait()), asyncio.create_task(_gone(client))
        try:
            first, _ = await asyncio.wait(
                (finished, gone), timeout=self.settings.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not first:
                raise TimeoutError
        finally:
            finished.cancel()
            gone.cancel()
            job.cancel()


async def _gone(client: Request) -> None:
    """Wait until the client of a request, whose body has been read, goes away."""
    while (await client.receive())["type"] != "http.disconnect":
        pass
