"""A job: a request on its way, in parts that fit into a batch, each at its own step."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.model.base import BaseModel
from unmelt.model.request import SampleRequest
from unmelt.sampler.loop import Prepared
from unmelt.sampler.state import State
from unmelt.serve.compatible import batch_key


class CancelledError(Exception):
    """The job was cancelled before it was finished."""


@final
class Job:
    """A request that an engine works on. Its methods may be called from any thread.

    Args:
        model: The model that is sampled.
        request: What is asked for.
        on_step: Called in the engine's thread after each step of the job's first part, with its state.
    """

    def __init__(
        self, model: BaseModel, request: SampleRequest, on_step: Callable[[State], None] | None = None
    ) -> None:
        self.model, self.request, self.on_step = model, request, on_step
        self.rows = request.rows
        self.row_cost = cost_of_row(model, request)
        self.made: dict[int, Tensor] = {}
        self.error: BaseException | None = None
        self._finished = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cost(self) -> int:
        """What its rows count for, in rows of the model's own size."""
        return self.rows * self.row_cost

    @property
    def is_finished(self) -> bool:
        """Whether there is a result, or an error in its place."""
        return self._finished.is_set()

    def result(self, timeout: float | None = None) -> Tensor:
        """Wait for the rows.

        Args:
            timeout: Seconds to wait at most; None waits until the job is finished.

        Returns:
            What `model.sample_request(request)` returns.

        Raises:
            TimeoutError: If it is not finished by then.
            CancelledError: If it was cancelled.
        """
        if not self._finished.wait(timeout):
            raise TimeoutError(f"not finished after {timeout} seconds")
        if self.error is not None:
            raise self.error
        return torch.cat([self.made[number] for number in sorted(self.made)])

    def cancel(self) -> None:
        """Give the job up. The engine frees its rows before its next step; a finished job stays finished."""
        self.fail(CancelledError("the job was cancelled"))

    def report(self, part: Part) -> None:
        """Call `on_step`, if there is one and the job goes on. If it raises, this job fails and no other.

        Args:
            part: The first part, after a step.
        """
        if self.on_step is None or self.is_finished:
            return
        try:
            self.on_step(part.state)
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the job without a result.

        Args:
            error: What `result` will raise.
        """
        with self._lock:
            if self.is_finished:
                return
            self.error = error
        self.finish()

    def finish(self) -> None:
        """End the job with what was made."""
        with self._lock:
            self._finished.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def when_finished(self, callback: Callable[[], None]) -> None:
        """Call a function once there is a result or an error: at once if there is one already.

        Args:
            callback: The function; it is called in the thread that ends the job.
        """
        with self._lock:
            if not self.is_finished:
                self._callbacks.append(callback)
                return
        callback()


@final
class Batch:
    """The rows of several parts after a step that they took together.

    Args:
        parts: The parts, in the order of their rows.
        state: Their rows; there may be more behind them.
    """

    def __init__(self, parts: Sequence[Part], state: State) -> None:
        self.parts, self.state = list(parts), state

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Batch:
        """Bring parts together; those that took their last step together are so already.

        Args:
            parts: The parts, of one kind.

        Returns:
            The batch.
        """
        last = parts[0].batch
        if last is not None and last.parts == list(parts):
            return last
        return cls(parts, parts[0].state if len(parts) == 1 else State.join([part.state for part in parts]))

    def rows_of(self, part: Part) -> State:
        """The rows of one of the parts.

        Args:
            part: The part.

        Returns:
            Its state.
        """
        begin = sum(each.rows for each in self.parts[: self.parts.index(part)])
        return self.state if len(self.state) == part.rows else self.state[begin : begin + part.rows]


@final
class Part:
    """Some rows of a job, which take their steps together.

    Args:
        job: The job.
        number: Its number among the parts of the job.
        prepared: Denoiser, sampler, the rows at the beginning, and the times to visit.
        round: The round in which its next turn is.
        arrival: Its place in the order of arrival.
    """

    def __init__(self, job: Job, number: int, prepared: Prepared, round: int, arrival: int) -> None:
        self.job, self.number, self.prepared, self.round, self.arrival = job, number, prepared, round, arrival
        self.rows = len(prepared.state)
        self.steps_done = 0
        self.batch: Batch | None = None
        """Its last step; a part that is over lets go of it, as the two know one another and hold all rows."""

        self.key: Any = batch_key(job.model, prepared.denoiser, prepared.sampler, prepared.state)
        """What parts that share a batch have in common."""

    @property
    def state(self) -> State:
        """Its rows as they are now."""
        return self.prepared.state if self.batch is None else self.batch.rows_of(self)

    @property
    def length(self) -> int | None:
        """Tokens of the encoded captions of its rows, padding included; None where there are none."""
        condition = (self.prepared if self.batch is None else self.batch).state.condition
        return None if condition is None or condition.sequence is None else condition.sequence.shape[1]

    @property
    def cost(self) -> int:
        """What its rows count for, in rows of the model's own size."""
        return self.rows * self.job.row_cost

    @property
    def next_time(self) -> Tensor:
        """[rows], the time that the next step goes to."""
        return self.prepared.times[self.steps_done]

    @property
    def is_at_the_end(self) -> bool:
        """Whether all steps are taken."""
        return self.steps_done == len(self.prepared.times)


def cost_of_row(model: BaseModel, request: SampleRequest) -> int:
    """What a row counts for: its numbers, in rows of the model's own size.

    Args:
        model: The model to sample.
        request: What is asked for.

    Returns:
        The ratio, rounded up; 1 for rows of the model's own shape and for shorter ones.
    """
    return 1 if request.shape is None else math.ceil(math.prod(request.shape) / math.prod(model.denoiser.shape))


def parts_of(request: SampleRequest, most: int) -> Sequence[SampleRequest]:
    """Divide a request into requests of at most so many rows.

    Args:
        request: The request.
        most: Rows of a part.

    Returns:
        The parts in order: the request itself if it fits, or if its guidance is a function, which may hold a value for
        each row.

    Raises:
        UsageError: If such a request has too many rows.
    """
    if request.rows <= most:
        return [request]
    if callable(request.guidance):
        raise UsageError(
            f"{request.rows} rows under a guidance function, and batches of {most}",
            f"at most {most} rows",
            f"rows={most}",
        )
    return [request[first : first + most] for first in range(0, request.rows, most)]
