"""Learning to sample one model in few steps: fit levels and weights to the model's own accurate paths.

    minimise over rows of noise  | few steps from the noise - accurate end point from the same noise |^2

a problem of nonlinear least squares with tens of unknowns, solved by scipy's trust-region method with Jacobians from
finite differences, each unknown needing the batch once more from the step that it is about. Any denoiser will do,
guided ones included. The sampler is learned on some rows and its error is measured on others. (Learned grids
and coefficients: Tong et al., 2025; Frankel et al., 2025.)
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds
from unmelt.sampler.default import adams_sampler, default_sampler, initial_guess, past
from unmelt.sampler.grid import Grid
from unmelt.sampler.loop import walk
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.sampler.tuned import Tuned

NUDGE = 1e-3
"""Of finite differences: unknowns are of order 1."""


class TuneResult(NamedTuple):
    """What was learned, and how good it is on rows that it was not learned from.

    Args:
        sampler: The learned sampler.
        default_error: Root mean square error of the default sampler with as many steps.
        tuned_error: Root mean square error of the learned sampler.
    """

    sampler: Tuned
    default_error: float
    tuned_error: float


@checked("um.sampler.tune")
def tune(
    denoiser: Denoiser,
    steps: int,
    noise: Float[Tensor, "rows *shape"],
    condition: Condition | None = None,
    rounds: int = 12,
    teacher: int = 64,
    progress: Callable[[float], None] | None = None,
) -> TuneResult:
    """Learn a `Tuned` sampler for a denoiser.

    Args:
        denoiser: The denoiser to sample from.
        steps: Number of steps, 2 to 30.
        noise: [rows, *shape], x at t = 1. Three quarters of the rows are learned from, the others measure the error.
        condition: What is known of each row.
        rounds: Rounds of learning, each of as many samples as there are unknowns.
        teacher: Steps of the accurate paths.
        progress: Called once a round with the error so far.

    Returns:
        The sampler and its errors.

    Raises:
        UsageError: If steps is not from 2 to 30, there are fewer than 16 rows or no rounds, or the accurate paths
            do not end at finite numbers.
    """
    if not 2 <= steps <= 30:
        raise UsageError(f"tuning for {steps} steps", "2 to 30; with more there is little left to learn", "steps=5")
    for name, value in (("rounds", rounds), ("teacher", teacher)):
        if value < 1:
            raise UsageError(f"tuning with {name}={value}", "at least 1", f"{name}=12")
    rows = len(noise)
    if rows < 16:
        raise UsageError(f"tuning on {rows} rows of noise", "at least 16", "rows=256")
    wanted = ends(denoiser, *adams_sampler(teacher), noise, condition)
    if not wanted.isfinite().all():
        raise UsageError(
            "tuning to paths that do not end at finite numbers",
            "a model that samples finite numbers, under a smaller guidance scale",
            "guidance=2.0",
        )
    learn, judge = slice(0, rows * 3 // 4), slice(rows * 3 // 4, rows)
    known = None if condition is None else condition[learn]
    tuned = fit(denoiser, initial_guess(steps), noise[learn], wanted[learn], known, rounds=rounds, progress=progress)

    def error(sampler: Sampler, grid: Grid) -> float:
        known = None if condition is None else condition[judge]
        return _rms((ends(denoiser, sampler, grid, noise[judge], known) - wanted[judge]).double().cpu().numpy())

    return TuneResult(tuned, error(*default_sampler(steps)), error(tuned, tuned.grid))


def fit(
    denoiser: Denoiser,
    start: Tuned,
    noise: Float[Tensor, "rows *shape"],
    wanted: Float[Tensor, "rows *shape"],
    condition: Condition | None = None,
    weight: Float[Tensor, "rows *shape"] | None = None,
    rounds: int = 12,
    progress: Callable[[float], None] | None = None,
) -> Tuned:
    """The sampler whose ends are nearest to given ones, in least squares.

    Args:
        denoiser: The denoiser to sample from.
        start: Sampler to begin the search from.
        noise: [rows, *shape], x at t = 1.
        wanted: [rows, *shape], where each row should end.
        condition: What is known of each row.
        weight: Weight of the error of each number. None: all equal.
        rounds: Rounds of learning.
        progress: Called once a round with the error so far.

    Returns:
        The learned sampler.
    """
    states: list[State] = []

    def missed(x: Tensor) -> np.ndarray:
        off = x - wanted if weight is None else weight * (x - wanted)
        return off.double().flatten().cpu().numpy()

    def residual(unknowns: np.ndarray) -> np.ndarray:
        sampler = _made(unknowns, start.steps)
        states[:] = _states(denoiser, sampler, sampler.grid, noise, condition)
        return missed(states[-1].x)

    def slopes(unknowns: np.ndarray) -> np.ndarray:
        """The Jacobian, by a nudge of each unknown."""
        here = residual(unknowns)
        if progress is not None:
            progress(_rms(here))
        return np.stack([nudged(unknowns, at, step, here) for at, step in enumerate(_step_of_each(start.steps))], 1)

    def nudged(unknowns: np.ndarray, at: int, step: int, here: np.ndarray) -> np.ndarray:
        moved = unknowns.copy()
        moved[at] += NUDGE
        sampler = _made(moved, start.steps)
        _, *times = _knots(sampler.grid, denoiser, noise)
        state = deque(walk(denoiser, sampler, states[step], times[step:]), maxlen=1).pop()
        return (missed(state.x) - here) / NUDGE

    from scipy.optimize import least_squares

    with torch.inference_mode():
        found = least_squares(residual, _unknowns(start), jac=slopes, x_scale="jac", max_nfev=rounds)
    return _made(found.x, start.steps)


@torch.no_grad()
def ends(
    denoiser: Denoiser,
    sampler: Sampler,
    grid: Grid,
    noise: Float[Tensor, "rows *shape"],
    condition: Condition | None = None,
) -> Float[Tensor, "rows *shape"]:
    """Where rows of noise end.

    Args:
        denoiser: The denoiser to sample from.
        sampler: The sampler.
        grid: The times to visit.
        noise: [rows, *shape], x at t = 1.
        condition: What is known of each row.

    Returns:
        [rows, *shape], x at t = 0.
    """
    return deque(_states(denoiser, sampler, grid, noise, condition), maxlen=1).pop().x


def _states(
    denoiser: Denoiser, sampler: Sampler, grid: Grid, noise: Tensor, condition: Condition | None
) -> Iterator[State]:
    start, *times = _knots(grid, denoiser, noise)
    state = sampler.init(denoiser, noise, start, RowSeeds.of(0, len(noise)), condition)
    yield state
    yield from walk(denoiser, sampler, state, times)


def _knots(grid: Grid, denoiser: Denoiser, noise: Tensor) -> list[Tensor]:
    """The times of a grid, each as the one time of all rows; not remembered, since each is used once."""
    return [time.expand(len(noise)) for time in grid(denoiser.process.schedule).to(noise.device)]


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _unknowns(of: Tuned) -> np.ndarray:
    """Step by step: how far ahead, the weights, and the logit of what is left of the level, but for the last step.

    Numbers of later steps change nothing before them.
    """
    found: list[float] = []
    for step, weights in enumerate(of.weights):
        found += [of.ahead[step], *weights]
        if step < of.steps - 1:
            left = of.levels[step + 1] / of.levels[step]
            found.append(np.log(left / (1 - left)))
    return np.array(found)


def _made(unknowns: np.ndarray, steps: int) -> Tuned:
    """The sampler of these unknowns."""
    numbers = iter(unknowns.tolist())
    levels, weights, ahead = [1.0], [], []
    for step in range(steps):
        ahead.append(next(numbers))
        weights.append(tuple(next(numbers) for _ in range(past(step))))
        if step < steps - 1:
            levels.append(levels[-1] / (1 + np.exp(-np.clip(next(numbers), -20, 20)).item()))
    return Tuned((*levels, 0.0), tuple(weights), tuple(ahead))


def _step_of_each(steps: int) -> list[int]:
    """The step that each unknown is about."""
    return [step for step in range(steps) for _ in range(1 + past(step) + (step < steps - 1))]
