"""The one loop that drives every sampler: the notebook, the server, `sample` and `trajectory` are all this."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.memoize import memoized
from unmelt.rng import Rows
from unmelt.sampler.grid import Grid
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import AnySchedule


def advance(denoiser: Denoiser, sampler: Sampler, state: State, s: Float[Tensor, " rows"]) -> State:
    """One step of the rows that have s < t; the others wait as they are, at no cost to the network."""
    moves = s < state.t
    if moves.all():
        return sampler.step(denoiser, state, s)
    return state.put(moves, sampler.step(denoiser, state[moves], s[moves])) if moves.any() else state


@memoized
def knots(
    grid: Grid, schedule: AnySchedule, rows: int, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, " rows"], ...]:
    """The times of a grid, each as the one time of all rows."""
    return tuple(time.expand(rows) for time in grid(schedule).to(device).unbind())


def walk(
    denoiser: Denoiser, sampler: Sampler, state: State, times: Iterable[Float[Tensor, " rows"]]
) -> Iterator[State]:
    """Drive `state` through these times, yielding after every step; differentiable."""
    for s in times:
        state = sampler.step(denoiser, state, s)
        yield state


def frames(
    denoiser: Denoiser, sampler: Sampler, state: State, times: Iterable[Float[Tensor, " rows"]]
) -> Iterator[State]:
    """`walk` as people watch it: the state it starts from first, and no autograd, whatever they do in between."""
    yield state
    steps = walk(denoiser, sampler, state, times)
    while True:
        with torch.no_grad():
            frame = next(steps, None)
        if frame is None:
            return
        yield frame


def trajectory(
    denoiser: Denoiser,
    *,
    rows: int,
    sampler: Sampler,
    grid: Grid,
    seed: int | Sequence[int] = 0,
    label: int | Sequence[int] | Tensor | None = None,
    condition: Condition | None = None,
    shape: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Iterator[State]:
    """Yield the state at every time of the grid: pure noise first, clean data last.

    rows        how many to make
    seed        one for all (row i of a larger batch is row i of a smaller one), or one for each row
    label       the class of every row, or one for each; `condition` for anything else
    shape       of one row, where the denoiser does not say
    """
    shape = tuple(shape if shape is not None else getattr(denoiser, "shape", ()))
    if not shape:
        raise UsageError(
            f"a {type(denoiser).__name__} that does not say the shape of its data",
            "the shape of one row",
            "um.sample(denoiser, rows=16, shape=(2,), ...)",
        )
    if rows < 1:
        raise UsageError(f"rows={rows}", "at least one row", "rows=16")
    if label is not None:
        if condition is not None:
            raise UsageError("both a label and a condition", "one of them", "condition=Condition(label=...)")
        condition = Condition(label=torch.as_tensor(label, dtype=torch.int64).expand(rows))
    with torch.no_grad():
        if grid.start != 1:
            raise UsageError(
                f"a grid that starts at t = {grid.start:.4g}, where there is no prior to start from",
                "a grid from t = 1, or rows that stand at its start",
                "um.sampler.walk(denoiser, sampler, sampler.init(denoiser, x_t, t, rng), times)",
            )
        start, *times = knots(grid, denoiser.process.schedule, rows, device)
        rng = Rows.of(seed, rows)
        x = denoiser.process.prior((rows, *shape), rng, dtype, device)
        condition = None if condition is None else condition.to(device)
        if condition is not None and condition.known_tokens is not None:
            x = torch.where(condition.known_tokens >= 0, condition.known_tokens, x)
        state = sampler.init(denoiser, x, start, rng.advance(), condition)
    yield from frames(denoiser, sampler, state, times)


def sample(
    denoiser: Denoiser,
    *,
    rows: int,
    sampler: Sampler,
    grid: Grid,
    seed: int | Sequence[int] = 0,
    label: int | Sequence[int] | Tensor | None = None,
    condition: Condition | None = None,
    shape: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Shaped[Tensor, "rows *shape"]:
    """The last frame of `trajectory`: `rows` samples at t = 0."""
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
