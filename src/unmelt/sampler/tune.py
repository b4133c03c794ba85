"""Tune a few-step sampler to one denoiser: fit its levels and weights to accurate end points.

    minimise over rows of noise  | few-step end point - accurate end point from the same noise |^2

This is nonlinear least squares with tens of unknowns. It is solved by scipy's trust-region method, with Jacobians from
finite differences: each unknown samples the batch again from the step that it belongs to. Any denoiser can be tuned
for, guided ones included, because only beliefs are needed. Some rows are fitted to, others measure the error. (Learned
grids and coefficients: Tong et al., 2025; Frankel et al., 2025.)
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import least_squares
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import Rows
from unmelt.sampler.default import adams, default_sampler, initial_guess, past
from unmelt.sampler.grid import Grid
from unmelt.sampler.loop import walk
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.sampler.tuned import Tuned

NUDGE = 1e-3
"""Step of the finite differences; unknowns are of order 1."""


class TuneResult(NamedTuple):
    """A tuned sampler, with root mean square errors of end points on rows of noise that it was not fitted to.

    Args:
        sampler: The tuned sampler.
        default_error: Error of the default sampler with as many steps.
        tuned_error: Error of the tuned sampler.
    """

    sampler: Tuned
    default_error: float
    tuned_error: float


def tune(
    denoiser: Denoiser,
    steps: int,
    noise: Float[Tensor, "rows *shape"],
    condition: Condition | None = None,
    rounds: int = 12,
    teacher: int = 64,
    progress: Callable[[float], None] | None = None,
) -> TuneResult:
    """Tune a sampler to a denoiser.

    Args:
        denoiser: The denoiser, guided or not.
        steps: Number of steps, from 2 to 30.
        noise: [rows, *shape], x at t = 1, at least 16 rows. Three quarters are fitted to; the others measure the error.
        condition: What is known of each row.
        rounds: Iterations of the fit. Each samples the batch about once for every unknown.
        teacher: Steps of the accurate paths.
        progress: Called once an iteration with the error so far.

    Returns:
        The tuned sampler and its error.

    Raises:
        UsageError: If the number of steps is out of range, or there are fewer than 16 rows.
    """
    if not 2 <= steps <= 30:
        raise UsageError(
            f"tuning for {steps} steps", "2 to 30; with more there is little left to gain", "tune(steps=5)"
        )
    rows = len(noise)
    if rows < 16:
        raise UsageError(f"tuning on {rows} rows of noise", "at least 16", "rows=256")
    target = ends(denoiser, *adams(teacher), noise, condition)
    fitted, held_out = slice(0, rows * 3 // 4), slice(rows * 3 // 4, rows)
    known = None if condition is None else condition[fitted]
    tuned = fit(denoiser, initial_guess(steps), noise[fitted], target[fitted], known, rounds=rounds, progress=progress)

    def error(sampler: Sampler, grid: Grid) -> float:
        known = None if condition is None else condition[held_out]
        return _rms((ends(denoiser, sampler, grid, noise[held_out], known) - target[held_out]).double().cpu().numpy())

    return TuneResult(tuned, error(*default_sampler(steps)), error(tuned, tuned.grid))


def fit(
    denoiser: Denoiser,
    start: Tuned,
    noise: Float[Tensor, "rows *shape"],
    target: Float[Tensor, "rows *shape"],
    condition: Condition | None = None,
    weight: Float[Tensor, "rows *shape"] | None = None,
    rounds: int = 12,
    progress: Callable[[float], None] | None = None,
) -> Tuned:
    """Fit a sampler's numbers by least squares, so that its end points are near to given ones.

    Args:
        denoiser: The denoiser.
        start: The sampler to start from; it sets the number of steps.
        noise: [rows, *shape], x at t = 1.
        target: [rows, *shape], the end points to fit to.
        condition: What is known of each row.
        weight: Weight of each error, of a shape that broadcasts to that of x; None for equal weights.
        rounds: Iterations of the fit.
        progress: Called once an iteration with the error so far.

    Returns:
        The fitted sampler.
    """
    states: list[State] = []

    def errors(x: Tensor) -> np.ndarray:
        difference = x - target if weight is None else weight * (x - target)
        return difference.double().flatten().cpu().numpy()

    def residual(unknowns: np.ndarray) -> np.ndarray:
        sampler = _made(unknowns, start.steps)
        states[:] = _states(denoiser, sampler, sampler.grid, noise, condition)
        return errors(states[-1].x)

    def jacobian(unknowns: np.ndarray) -> np.ndarray:
        """Finite differences, one unknown at a time."""
        here = residual(unknowns)
        if progress is not None:
            progress(_rms(here))
        return np.stack([derivative(unknowns, at, step, here) for at, step in enumerate(_step_of_each(start.steps))], 1)

    def derivative(unknowns: np.ndarray, at: int, step: int, here: np.ndarray) -> np.ndarray:
        moved = unknowns.copy()
        moved[at] += NUDGE
        sampler = _made(moved, start.steps)
        _, *times = _knots(sampler.grid, denoiser, noise)
        state = deque(walk(denoiser, sampler, states[step], times[step:]), maxlen=1).pop()
        return (errors(state.x) - here) / NUDGE

    with torch.inference_mode():
        found = least_squares(residual, _unknowns(start), jac=jacobian, x_scale="jac", max_nfev=rounds)
    return _made(found.x, start.steps)


@torch.no_grad()
def ends(
    denoiser: Denoiser,
    sampler: Sampler,
    grid: Grid,
    noise: Float[Tensor, "rows *shape"],
    condition: Condition | None = None,
) -> Float[Tensor, "rows *shape"]:
    """Sample from given noise.

    Args:
        denoiser: The denoiser.
        sampler: The sampler.
        grid: The times that it visits.
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
    state = sampler.init(denoiser, noise, start, Rows.of(0, len(noise)), condition)
    yield state
    yield from walk(denoiser, sampler, state, times)


def _knots(grid: Grid, denoiser: Denoiser, noise: Tensor) -> list[Tensor]:
    """The times of a grid, each repeated for all rows. Not memoized, because each grid is used once."""
    return [time.expand(len(noise)) for time in grid(denoiser.process.schedule).to(noise.device)]


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _unknowns(of: Tuned) -> np.ndarray:
    """The numbers of a sampler as unconstrained unknowns, step by step, so that no step depends on later unknowns.

    For each step: the share ahead, the weights and, except for the last step, the logit of the ratio of its end level
    to its start level.
    """
    found: list[float] = []
    for step, weights in enumerate(of.weights):
        found += [of.ahead[step], *weights]
        if step < of.steps - 1:
            left = of.levels[step + 1] / of.levels[step]
            found.append(np.log(left / (1 - left)))
    return np.array(found)


def _made(unknowns: np.ndarray, steps: int) -> Tuned:
    """The sampler with these unknowns."""
    numbers = iter(unknowns.tolist())
    levels, weights, ahead = [1.0], [], []
    for step in range(steps):
        ahead.append(next(numbers))
        weights.append(tuple(next(numbers) for _ in range(past(step))))
        if step < steps - 1:
            levels.append(levels[-1] / (1 + np.exp(-np.clip(next(numbers), -20, 20)).item()))
    return Tuned((*levels, 0.0), tuple(weights), tuple(ahead))


def _step_of_each(steps: int) -> list[int]:
    """The step that each unknown belongs to."""
    return [step for step in range(steps) for _ in range(1 + past(step) + (step < steps - 1))]
