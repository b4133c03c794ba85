"""The one loop that drives every sampler: the notebook, the server, `sample` and `trajectory` all use it.

    state = sampler.init(x, t),      state = sampler.step(state, s)  for s on the way from 1 to 0

Rows may stand at different times, and so may the frames of a row (times [rows, *axes]). A row takes a step if any of
its frames moves; frames that wait, s = t, keep x, x0 and memory bit for bit.
"""

import inspect
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.arguments import checked
from unmelt.arguments.values import shown
from unmelt.class_labels import class_numbers
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.device import device_named
from unmelt.errors import UsageError
from unmelt.memoize import memoized
from unmelt.process.broadcast import expand
from unmelt.rng import RowSeeds, Seed
from unmelt.sampler.grid import FrameGrid, Grid
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import AnySchedule


def advance(denoiser: Denoiser, sampler: Sampler, state: State, s: Float[Tensor, "rows *axes"]) -> State:
    """Take one step with the rows, or frames of rows, that have s < t; the others wait.

    Rows that wait are not shown to the denoiser. Frames that wait are shown, at their own times, beside those of the
    same row that move.

    Args:
        denoiser: The denoiser to sample from.
        sampler: The sampler.
        state: The rows.
        s: [rows, *axes], times to go to; where the state has finer times, [rows] is the time of all frames of a row.

    Returns:
        The state after the step.
    """
    s = _for_every_frame(s, state.t)
    return _move(denoiser, sampler, state, s, s < state.t)


def _for_every_frame(s: Tensor, t: Tensor) -> Tensor:
    """Times to go to in the shape of the times that are: a time of a row is that of all its frames."""
    return s if s.ndim == t.ndim else expand(s, s.dtype, t.ndim).expand_as(t)


def _move(denoiser: Denoiser, sampler: Sampler, state: State, s: Tensor, moves: Tensor) -> State:
    """One step of the rows and frames that move, for as few rows as possible."""
    if moves.all():
        return sampler.step(denoiser, state, s)
    rows = moves
    if moves.ndim > 1:
        rows, s = moves.flatten(1).any(1), torch.where(moves, s, state.t)
    return state.put(moves, sampler.step(denoiser, state[rows], s[rows])) if rows.any() else state


@memoized
def knots(
    grid: Grid | FrameGrid, schedule: AnySchedule, rows: int, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "rows *axes"], ...]:
    """The times of a grid, each as the time of all rows, or as the times of the frames of all rows.

    Args:
        grid: The grid.
        schedule: The schedule on which its levels are visited.
        rows: Number of rows.
        device: Device of the times.

    Returns:
        The n + 1 times of n steps, each [rows], or [rows, frames] of a grid for frames.
    """
    return tuple(time.expand(rows, *time.shape) for time in grid(schedule).to(device).unbind())


def walk(
    denoiser: Denoiser, sampler: Sampler, state: State, times: Iterable[Float[Tensor, "rows *axes"]]
) -> Iterator[State]:
    """Step a state through times, yielding the state after each; differentiable, unlike `trajectory`.

    Args:
        denoiser: The denoiser to sample from.
        sampler: The sampler.
        state: The rows, as its `init` or an earlier step left them.
        times: Times to go to, one after the other, as in `advance`, but all rows move each time, up or down.
            Frames that have s = t wait.

    Yields:
        The state after every step.
    """
    for s in times:
        if state.t.ndim == 1:
            state = sampler.step(denoiser, state, s)
        else:
            s = _for_every_frame(s, state.t)
            state = _move(denoiser, sampler, state, s, s != state.t)
        yield state


def frames(
    denoiser: Denoiser, sampler: Sampler, state: State, times: Iterable[Float[Tensor, "rows *axes"]]
) -> Iterator[State]:
    """`walk` without autograd, whatever the caller does between two steps.

    Args:
        denoiser: The denoiser to sample from.
        sampler: The sampler.
        state: The rows.
        times: Times to go to, as in `walk`.

    Yields:
        The state given, then the state after every step.

    Raises:
        UsageError: If x is not finite after the last step.
    """
    yield state
    steps = walk(denoiser, sampler, state, times)
    while True:
        with torch.no_grad(), _explained(denoiser, state):
            frame = next(steps, None)
            if frame is None:
                check_finite(state)
                return
            state = frame
        yield frame


@contextmanager
def _explained(denoiser: Denoiser, state: State) -> Iterator[None]:
    """Say of a user's own denoiser what it lacks, once a step of a sampler has failed for it.

    Nothing is asked of a denoiser whose steps succeed: the contract is only looked at to explain an error.
    """
    try:
        yield
    except (AttributeError, TypeError) as error:
        kind = type(denoiser).__name__
        needed = "a call with (x_t, t, condition) that returns a posterior"
        instead = "return um.posterior.Point(mean)"
        try:
            inspect.signature(denoiser).bind(state.x, state.t, state.condition)
        except TypeError:
            instead = f"def __call__(self, x_t, t, condition=None): {instead}"
            raise UsageError(f"a {kind} that cannot be called with three arguments", needed, instead) from error
        belief = denoiser(state.x, state.t, state.condition)
        if not hasattr(belief, "best"):
            raise UsageError(f"a {kind} that returned {shown(belief)}", needed, instead) from error
        raise


def check_finite(state: State) -> None:
    """Refuse a finished state that is not finite; what is not finite at one step is not at the next.

    Args:
        state: The rows after their last step.

    Raises:
        UsageError: If some of them are not finite.
    """
    if not state.x.is_floating_point() or (finite := state.x.isfinite().flatten(1).all(1)).all():
        return
    raise UsageError(
        f"{int((~finite).sum())} of {len(state)} rows that are not finite",
        "a denoiser whose beliefs are finite, at every step",
        "a smaller guidance scale, more steps, or a model whose training did not diverge",
    )


class Prepared(NamedTuple):
    """Rows that are ready for their first step; `frames(*prepared)` takes all steps.

    Args:
        denoiser: The denoiser to sample from.
        sampler: The sampler.
        state: The rows at the first time.
        times: The times that are still to be visited, each [rows] or [rows, frames].
    """

    denoiser: Any
    sampler: Sampler
    state: State
    times: tuple[Float[Tensor, "rows *axes"], ...]


def prepare(
    denoiser: Denoiser,
    *,
    rows: int,
    sampler: Sampler,
    grid: Grid | FrameGrid,
    seed: Seed = 0,
    condition: Condition | None = None,
    shape: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Prepared:
    """Draw pure noise and begin: all of `trajectory` before its first step.

    Args:
        denoiser: As for `trajectory`, like all that follow.
        rows: Number of rows to make.
        sampler: The sampler.
        grid: The times to visit, from 1 to 0; of each frame, where it is a `FrameGrid`.
        seed: One for all, or one for each row. None draws a fresh one.
        condition: What is known of each row.
        shape: Of one row, where the denoiser does not say.
        dtype: Precision of x.
        device: Where to sample.

    Returns:
        The rows at the first time of the grid.

    Raises:
        UsageError: If the shape is unknown, rows < 1, or the grid does not start at 1.
    """
    shape = tuple(shape if shape is not None else getattr(denoiser, "shape", ()))
    if not shape:
        raise UsageError(
            f"a {type(denoiser).__name__} that does not say the shape of its data",
            "the shape of one row",
            "um.sample(denoiser, rows=16, shape=(2,), ...)",
        )
    device = device_named(device)
    if rows < 1:
        raise UsageError(f"rows={rows}", "at least one row", "rows=16")
    if isinstance(grid, FrameGrid) and grid.known:
        raise UsageError(
            f"a grid with {grid.known} known frames, and no values of them",
            "the known frames",
            "um.sampler.continue_frames(denoiser, past, frames=8, ...)",
        )
    if grid.start != 1:
        raise UsageError(
            f"a grid that starts at t = {grid.start:.4g}, where there is no prior to start from",
            "a grid from t = 1, or rows that stand at its start",
            "um.sampler.walk(denoiser, sampler, sampler.init(denoiser, x_t, t, rng), times)",
        )
    with torch.no_grad():
        start, *times = knots(grid, denoiser.process.schedule, rows, device)
        rng = RowSeeds.of(seed, rows)
        x = denoiser.process.prior((rows, *shape), rng, dtype, device)
        condition = None if condition is None else condition.to(device)
        if condition is not None and condition.known_tokens is not None:
            x = torch.where(condition.known_tokens >= 0, condition.known_tokens, x)
        state = sampler.init(denoiser, x, start, rng.advance(), condition)
    return Prepared(denoiser, sampler, state, tuple(times))


@checked("um.trajectory")
def trajectory(
    denoiser: Denoiser,
    *,
    rows: int,
    sampler: Sampler,
    grid: Grid | FrameGrid,
    seed: Seed = 0,
    label: int | Sequence[int] | Tensor | None = None,
    condition: Condition | None = None,
    shape: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Iterator[State]:
    """The state at every time of a grid: pure noise first, clean data last.

    Args:
        denoiser: Anything with a process that maps (x_t, t, condition) to a belief.
        rows: Number of rows to make.
        sampler: The sampler.
        grid: The times to visit, from 1 to 0; of each frame, where it is a `FrameGrid`.
        seed: One for all (row i of a larger batch is row i of a smaller one), or one for each row. None draws a fresh
            one.
        label: The class of every row, or one for each.
        condition: What else is known of each row; give this or a label.
        shape: Of one row, where the denoiser does not say.
        dtype: Precision of x.
        device: Where to sample.

    Returns:
        An iterator of the states at each of the grid's times.

    Raises:
        UsageError: If the shape is unknown, rows < 1, both a label and a condition are given, or the grid does not
            start at 1.
    """
    if label is not None:
        if condition is not None:
            raise UsageError("both a label and a condition", "one of them", "condition=Condition(label=...)")
        condition = Condition(label=class_numbers(label, rows))
    prepared = prepare(
        denoiser,
        rows=rows,
        sampler=sampler,
        grid=grid,
        seed=seed,
        condition=condition,
        shape=shape,
        dtype=dtype,
        device=device,
    )
    return frames(*prepared)


@checked("um.sample")
def sample(
    denoiser: Denoiser,
    *,
    rows: int,
    sampler: Sampler,
    grid: Grid | FrameGrid,
    seed: Seed = 0,
    label: int | Sequence[int] | Tensor | None = None,
    condition: Condition | None = None,
    shape: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Shaped[Tensor, "rows *shape"]:
    """Samples at t = 0: x in the last state of `trajectory`.

    Args:
        denoiser: Anything with a process that maps (x_t, t, condition) to a belief.
        rows: Number of rows to make.
        sampler: The sampler.
        grid: The times to visit, from 1 to 0; of each frame, where it is a `FrameGrid`.
        seed: One for all (row i of a larger batch is row i of a smaller one), or one for each row. None draws a fresh
            one.
        label: The class of every row, or one for each.
        condition: What else is known of each row; give this or a label.
        shape: Of one row, where the denoiser does not say.
        dtype: Precision of x.
        device: Where to sample.

    Returns:
        [rows, *shape], the samples.

    Raises:
        UsageError: As `trajectory` does.
    """
    states = trajectory(
        denoiser,
        rows=rows,
        sampler=sampler,
        grid=grid,
        seed=seed,
        label=label,
        condition=condition,
        shape=shape,
        dtype=dtype,
        device=device,
    )
    return deque(states, maxlen=1).pop().x
