"""Many requests at different noise levels, one batch: rows enter and leave at every step.

    submit(model, request) -> job          from any thread
    tick()                                 one step of one batch
    job.result()                           what `model.sample_request(request)` returns

Which rows share a batch is said in `compatible`; they may stand at different times, with different numbers of steps,
seeds, conditions and guidance scales.

Turns go in rounds: in a round, each part of each job takes one step, in the order of arrival. Room that is left in a
batch is given to parts that have had their turn, for nothing. A new job begins in the round that is being played, so
that short jobs do not wait for long ones and long ones go on (start-time fair queueing with steps as cost: Goyal, Vin
and Cheng, 1996). With R rows in flight, b rows in a batch and G kinds of rows that share no batch, a round has at most
2 R / b + G ticks, and a job of n steps that has begun ends after at most n + 1 rounds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.guidance import CFG
from unmelt.model.base import BaseModel
from unmelt.model.request import SampleRequest
from unmelt.sampler.loop import check_finite
from unmelt.sampler.state import State
from unmelt.serve.compatible import with_scales_of_rows
from unmelt.serve.job import Batch, Job, Part, parts_of


class OverloadedError(Exception):
    """There is no room for the job now."""


@final
@checked_init("um.serve.EngineLimits")
@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """How much an engine takes on, in rows of the model's own size: a picture of four times the area counts for four.

    So the memory of a network call and of all states is bounded by that of `batch` and `rows` of them, for networks
    whose memory is proportional to the size of a row.

    Args:
        batch: Rows of a network call.
        rows: Rows in flight, whose states are in memory.
        queue: Rows that wait for room.

    Raises:
        UsageError: If a number is below 1, or a batch is larger than the rows in flight.
    """

    batch: int = 32
    rows: int = 512
    queue: int = 4096

    def __post_init__(self) -> None:
        if min(self.batch, self.rows, self.queue) < 1 or self.batch > self.rows:
            raise UsageError(f"{self}", "1 <= batch <= rows, and a queue of at least 1", "EngineLimits()")


@final
class Engine:
    """Advances the rows of all jobs, a batch at a time.

    Args:
        limits: How much it takes on.
        deterministic: Whether every network call has the same number of rows, those that are missing being copies, so
            that a row is the same bit for bit whatever shares its batch. Captions of different lengths then share none.
    """

    def __init__(self, limits: EngineLimits = EngineLimits(), *, deterministic: bool = False) -> None:
        self.limits, self.deterministic = limits, deterministic
        self._waiting: deque[Job] = deque()
        self._parts: list[Part] = []
        self._arrivals = 0
        self.jobs_taken = self.steps_done = self.row_steps_done = 0
        self._changed = threading.Condition()

    @property
    def rows_in_flight(self) -> int:
        """Rows whose states are in memory."""
        with self._changed:
            return sum(part.rows for part in self._parts)

    @property
    def rows_waiting(self) -> int:
        """Rows that wait for room."""
        with self._changed:
            return sum(job.rows for job in self._waiting if not job.is_finished)

    def submit(self, model: BaseModel, request: SampleRequest, on_step: Callable[[State], None] | None = None) -> Job:
        """Take a request on. May be called from any thread.

        Args:
            model: The model to sample.
            request: What is asked for.
            on_step: Called in the engine's thread after each step of the first part, with its state.

        Returns:
            The job.

        Raises:
            UsageError: If the request can never be taken on.
            OverloadedError: If there is no room in the queue.
        """
        job = Job(model, request, on_step)
        if job.row_cost > self.limits.batch:
            raise UsageError(
                f"rows of shape {request.shape}, which count for {job.row_cost} of the model's own size",
                f"rows that count for at most {self.limits.batch}",
                f"EngineLimits(batch={job.row_cost}), or smaller pictures",
            )
        if job.cost > self.limits.rows:
            most = self.limits.rows // job.row_cost
            raise UsageError(f"{request.rows} rows", f"at most {most} in a request", f"rows={most}")
        parts_of(request, self._rows_of_batch(job))
        with self._changed:
            self.check_room(job.cost)
            self._waiting.append(job)
            self.jobs_taken += 1
            self._changed.notify()
        return job

    def check_room(self, rows: int) -> None:
        """Refuse rows for which there is no room in the queue now, before anything is made for them.

        Args:
            rows: How many, in rows of the model's own size.

        Raises:
            OverloadedError: If there is no room.
        """
        with self._changed:
            waiting = sum(each.cost for each in self._waiting if not each.is_finished)
        if waiting + rows > self.limits.queue:
            raise OverloadedError(f"{waiting} rows are waiting, of at most {self.limits.queue}")

    def tick(self) -> bool:
        """Take one step with one batch. Only one thread may call this.

        Returns:
            Whether there was anything to do.
        """
        self._forget_finished()
        self._begin_waiting()
        batch = self._next_batch()
        if not batch:
            return False
        try:
            self._step(batch)
        except Exception as error:  # of one network call: its jobs fail, all others go on
            for part in batch:
                part.job.fail(error)
        return True

    def run(self, stop: threading.Event | None = None) -> None:
        """Tick until nothing is left to do; with an event, until it is set, waiting for jobs in between.

        Args:
            stop: The event.
        """
        while stop is None or not stop.is_set():
            if self.tick():
                continue
            if stop is None:
                return
            with self._changed:
                if not self._waiting:
                    self._changed.wait(0.1)

    def _forget_finished(self) -> None:
        """Free the rows of jobs that were cancelled or have failed."""
        with self._changed:
            over = [part for part in self._parts if part.job.is_finished]
            if over:
                self._parts = [part for part in self._parts if not part.job.is_finished]
        for part in over:
            part.batch = None

    def _begin_waiting(self) -> None:
        """Begin jobs that waited, in the order in which they came, while there is room."""
        while True:
            with self._changed:
                while self._waiting and self._waiting[0].is_finished:
                    self._waiting.popleft()
                room = self.limits.rows - sum(part.cost for part in self._parts)
                if not self._waiting or self._waiting[0].cost > room:
                    return
                job = self._waiting.popleft()
            try:
                parts = self._begun(job)
            except Exception as error:  # of this request
                job.fail(error)
                continue
            with self._changed:
                self._parts += parts

    def _rows_of_batch(self, job: Job) -> int:
        return self.limits.batch // job.row_cost

    def _begun(self, job: Job) -> list[Part]:
        now = min((part.round for part in self._parts), default=0)
        parts = []
        for number, request in enumerate(
            parts_of(with_scales_of_rows(job.model, job.request), self._rows_of_batch(job))
        ):
            prepared = job.model.prepare(request)
            if self.deterministic and type(prepared.denoiser) is CFG:
                inner, scale, interval = prepared.denoiser.denoiser, prepared.denoiser.scale, prepared.denoiser.interval
                prepared = prepared._replace(denoiser=CFG(inner, scale, interval, at_once=0))
            parts.append(Part(job, number, prepared, now, self._arrivals))
            self._arrivals += 1
        return parts

    def _next_batch(self) -> list[Part]:
        """The part whose turn it is, and others that may share its batch, in the order of their turns."""
        in_turn = sorted(self._parts, key=lambda part: (part.round, part.arrival))
        batch: list[Part] = []
        cost = 0
        for part in in_turn:
            fits = not batch or (self._key(part) == self._key(batch[0]) and cost + part.cost <= self.limits.batch)
            if fits:
                batch.append(part)
                cost += part.cost
        return batch

    def _key(self, part: Part) -> object:
        return (part.key, part.length) if self.deterministic else part.key

    def _step(self, parts: list[Part]) -> None:
        first, batch = parts[0].prepared, Batch.of(parts)
        one = len(parts) == 1  # then times keep their identity, by which coefficients are remembered
        state = batch.state
        times = parts[0].next_time if one else torch.cat([part.next_time for part in parts])
        rows, full = len(times), self._rows_of_batch(parts[0].job)
        if self.deterministic:
            filled = torch.arange(full).clamp_max(rows - 1)
            state, times = state[filled], times[filled]
        with torch.no_grad():
            batch = Batch(parts, first.sampler.step(first.denoiser, state, times))
        self.steps_done, self.row_steps_done = self.steps_done + 1, self.row_steps_done + rows
        now = parts[0].round
        for part in parts:
            part.batch = batch
            part.steps_done += 1
            part.round = now + 1
            if part.number == 0:
                part.job.report(part)
            if part.is_at_the_end and not part.job.is_finished:
                self._finish(part)

    def _finish(self, part: Part) -> None:
        job = part.job
        try:
            state = part.state
            check_finite(state)
            job.made[part.number] = job.model.decode_state(state).cpu()
        except Exception as error:  # of these rows alone
            job.fail(error)
        part.batch = None
        with self._changed:
            self._parts.remove(part)
            if not any(each.job is job for each in self._parts):
                job.finish()
