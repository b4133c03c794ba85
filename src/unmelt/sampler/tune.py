"""Learning to sample one model in few steps: fit times and weights to the model's own accurate paths.

    minimise over rows of noise  | few steps from the noise - accurate end point from the same noise |^2

a problem of nonlinear least squares with tens of unknowns, solved by scipy's trust-region method with Jacobians from
finite differences, each unknown needing one more sample of the batch. Any denoiser will do, guided ones included, since
nothing is asked of it but beliefs. Learned on some rows, judged on others. (Learned grids and coefficients: Tong et
al., 2025; Frankel et al., 2025.)
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import least_squares
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian
from unmelt.rng import Rows
from unmelt.sampler.grid import Grid
from unmelt.sampler.loop import knots, walk
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.stock import stock
from unmelt.sampler.tuned import Tuned
from unmelt.schedule import Schedule

DEPTH = 5
"""Past beliefs that a step may use."""

NUDGE = 1e-3
"""Of finite differences: unknowns are of order 1."""


class Lesson(NamedTuple):
    """What was learned, and root mean square errors on rows that it was not learned from: before and after."""

    sampler: Tuned
    stock: float
    tuned: float


def tune(
    denoiser: Denoiser,
    steps: int,
    noise: Float[Tensor, "rows *shape"],
    condition: Condition | None = None,
    rounds: int = 12,
    teacher: int = 64,
    progress: Callable[[float], None] | None = None,
) -> Lesson:
    """A `Tuned` sampler of this many steps for this denoiser.

    noise       x at t = 1; three quarters of the rows are learned from, the others judge
    condition   of each row
    rounds      of learning, each of as many samples as there are unknowns
    teacher     steps of the accurate paths
    progress    is told the error so far, once a round
    """
    if not 2 <= steps <= 30:
        raise UsageError(
            f"tuning for {steps} steps", "2 to 30; with more there is little left to learn", "tune(steps=5)"
        )
    rows = len(noise)
    if rows < 16:
        raise UsageError(f"tuning on {rows} rows of noise", "at least 16", "rows=256")
    learn, judge = slice(0, rows * 3 // 4), slice(rows * 3 // 4, rows)

    def residual(unknowns: np.ndarray) -> np.ndarray:
        sampler = _sampler(unknowns, steps, schedule)
        return missed(sampler, sampler.grid, learn)

    def missed(sampler: Sampler, grid: Grid, part: slice) -> np.ndarray:
        return (end(sampler, grid, part) - wanted[part]).double().flatten().cpu().numpy()

    def end(sampler: Sampler, grid: Grid, part: slice) -> Tensor:
        return _end(denoiser, sampler, grid, noise[part], None if condition is None else condition[part])

    schedule = denoiser.process.schedule
    wanted = end(*stock(teacher), slice(None))
    learned = least_squares(
        residual,
        _start(steps, schedule),
        jac=lambda unknowns: _differences(residual, unknowns, progress),
        x_scale="jac",
        max_nfev=rounds,
    ).x
    tuned = _sampler(learned, steps, schedule)
    return Lesson(tuned, _rms(missed(*stock(steps), judge)), _rms(missed(tuned, tuned.grid, judge)))


def _differences(
    residual: Callable[[np.ndarray], np.ndarray], unknowns: np.ndarray, progress: Callable[[float], None] | None
) -> np.ndarray:
    """The Jacobian, by a nudge of each unknown."""
    here = residual(unknowns)
    if progress is not None:
        progress(_rms(here))
    nudged = unknowns + NUDGE * np.eye(len(unknowns))
    return np.stack([(residual(each) - here) / NUDGE for each in nudged], 1)


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


@torch.no_grad()
def _end(denoiser: Denoiser, sampler: Sampler, grid: Grid, noise: Tensor, condition: Condition | None) -> Tensor:
    start, *times = knots(grid, denoiser.process.schedule, len(noise), noise.device)
    state = sampler.init(noise, start, Rows.of(0, len(noise)), condition)
    return deque(walk(denoiser, sampler, state, times), maxlen=1).pop().x


def _sampler(unknowns: np.ndarray, steps: int, schedule: Schedule) -> Tuned:
    """Unknowns: the first log noise-to-signal ratio, the logarithms of how far each next one falls, shifts, weights."""
    inner = steps - 1
    first, falls, shifts, weights = np.split(unknowns, [1, inner, 2 * inner])
    highest = -schedule.log_snr(torch.ones((), dtype=torch.float64)).item() / 2
    ratios = np.minimum(first, highest - 1e-3) - np.concatenate([[0.0], np.exp(falls.clip(-7, 3)).cumsum()])
    ends = np.cumsum([min(step, DEPTH) for step in range(steps)])
    return Tuned(
        (1.0, *schedule.time(-2 * torch.from_numpy(ratios)).tolist(), 0.0),
        tuple(tuple(part.tolist()) for part in np.split(weights, ends[:-1])),
        (0.0, *shifts.tolist()),
    )


def _start(steps: int, schedule: Schedule) -> np.ndarray:
    """The stock grid, no shifts, and the weights by which the stock sampler's predictor carries beliefs on it."""
    sampler, grid = stock(steps)
    times = grid(schedule)
    log_ratio = -schedule.log_snr(times[1:-1]) / 2
    weights = _weights_of(sampler, times, schedule)
    return np.concatenate([log_ratio[:1].numpy(), torch.log(-log_ratio.diff()).numpy(), np.zeros(steps - 1), weights])


def _weights_of(sampler: Sampler, times: Float[Tensor, " knots"], schedule: Schedule) -> np.ndarray:
    """How much of which past belief each step of a sampler carries, read off a run whose beliefs are unit vectors."""
    process, steps = Gaussian(schedule), len(times) - 1
    each = _Unit(process)
    state = sampler.init(torch.zeros(1, steps, dtype=torch.float64), times[:1], Rows.of(0, 1))
    weights = []
    for step, s in enumerate(times[1:]):
        carried = process.carry(state.x, torch.zeros_like(state.x), state.t, s[None])
        pull = process.carry(torch.zeros_like(state.x), torch.ones_like(state.x), state.t, s[None])
        state = sampler.step(each, state, s[None])
        of_beliefs = ((state.x - carried) / pull)[0, : step + 1].flip(0)
        weights.append(of_beliefs[1 : DEPTH + 1].numpy())
    return np.concatenate(weights)


class _Unit:
    """The n-th belief is the n-th unit vector: what x then holds is how much of each belief went into it."""

    def __init__(self, process: Gaussian) -> None:
        self.process, self.asked = process, 0

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Point:
        belief = torch.zeros_like(x_t)
        belief[:, self.asked] = 1
        self.asked += 1
        return Point(belief)
