"""Steps that remember: a function through the slopes of the last few times, integrated exactly.

In coordinates (see `coordinates.py`) a step from t to s is

    x_s = (c_s / c_t) x_t + sum_j b_j g_j,      b_j = c_s integral from tau_t to tau_s of L_j(tau) pace(tau) dtau

with L_j the function of the coordinates, a polynomial or nearly one, that is 1 at the j-th known time and 0 at the
others. Over times that end at t it is an Adams-Bashforth predictor of as many orders as there are times; over times
that include s, an Adams-Moulton corrector, whose belief at s is the one that the next step needs anyway, so that it
costs no evaluation (Zhao et al., 2023). What is known differs by row, and by frame of a row. With a single known time,
or where the clock is infinite at either end (in log SNR: from pure noise, to clean data), a step is `process.ode_step`.

Memory is kept in a state under t1, g1 (one step ago), t2, g2, ...; x1 is where the last step began.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.memoize import memoized
from unmelt.process.broadcast import expand
from unmelt.process.gaussian import Gaussian
from unmelt.rng import RowSeeds
from unmelt.sampler.ode_coordinates import Coordinates
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import Schedule

NODES, WEIGHTS = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(24))
"""Gauss-Legendre on [-1, 1]: good to 1e-12 for everything that is integrated here."""


def check_order(sampler: Sampler, order: int, least: int, most: int) -> None:
    """Refuse an order that a sampler does not have.

    Args:
        sampler: The sampler.
        order: The order it was given.
        least: Its lowest order.
        most: Its highest order.

    Raises:
        UsageError: If the order is not a whole number from least to most.
    """
    if isinstance(order, bool) or not isinstance(order, int) or not least <= order <= most:
        name = type(sampler).__name__
        raise UsageError(f"{name} of order {order!r}", f"an order from {least} to {most}", f"{name}(order={most - 1})")


def check_eta(sampler: Sampler, eta: float) -> None:
    """Refuse a share of fresh noise that is negative or not finite.

    Args:
        sampler: The sampler.
        eta: The share it was given.

    Raises:
        UsageError: If eta is not a finite number, 0 or more.
    """
    if not 0 <= eta < math.inf:
        name = type(sampler).__name__
        raise UsageError(f"{name} with eta={eta}", "eta of 0 (no fresh noise) or more", f"{name}(eta=1.0)")


def start(
    x: Float[Tensor, "rows *shape"],
    t: Float[Tensor, "rows *axes"],
    rng: RowSeeds,
    condition: Condition | None,
    slopes: int,
    corrected: bool = False,
) -> State:
    """Begin a multistep method. A remembered time that is not before the present stands for a slope not yet known.

    Args:
        x: [rows, *axes, *rest], data at time t.
        t: [rows, *axes], times of x.
        rng: Seed of each row.
        condition: What is known of each row.
        slopes: Number of past slopes that will be remembered.
        corrected: Whether each step is corrected once the belief at its end is known.

    Returns:
        The state before the first step.
    """
    memory = {f"t{j}": t for j in range(1, max(slopes, corrected) + 1)}
    memory |= {f"g{j}": torch.zeros_like(x) for j in range(1, slopes + 1)}
    return State.start(x, t, rng, condition, **memory, **({"x1": x} if corrected else {}))


def step(
    coordinates: Coordinates, order: int, denoiser: Denoiser, state: State, s: Float[Tensor, "rows *axes"]
) -> State:
    """Correct x_t if `start` asked for it, predict x_s to this order, and remember. One network call.

    Args:
        coordinates: Coordinates of the method; they also say how much noise is drawn anew.
        order: Order of the predictor.
        denoiser: The denoiser to sample from.
        state: The rows.
        s: [rows, *axes], times to go to.

    Returns:
        The state at s.
    """
    process = denoiser.process
    x0 = denoiser(state.x, state.t, state.condition).mean
    x = correct(coordinates, process, state, x0) if "x1" in state.memory else state.x
    memory = _remembering(coordinates, process, state, x, x0)
    x_s, rng = predict(coordinates, process, state, x, x0, s, order)
    return state.moved(x_s, s, x0, rng, **memory)


def predict(
    coordinates: Coordinates,
    process: Gaussian,
    state: State,
    x: Tensor,
    x0: Tensor,
    s: Float[Tensor, "rows *axes"],
    order: int,
) -> tuple[Tensor, RowSeeds]:
    """Predict x_s from x at t, where the belief is x0, with the newest order - 1 slopes remembered.

    Args:
        coordinates: Coordinates of the method.
        process: The process.
        state: The rows, whose times and memory are used.
        x: x at t, corrected if the method corrects.
        x0: Belief at t.
        s: [rows, *axes], times to go to.
        order: Order of the predictor.

    Returns:
        (x_s, the rows' next draw).
    """
    schedule, dtype, ndim = process.schedule, x.dtype, x.ndim
    times = [state.recall(f"t{j}") for j in range(1, order)]
    c_x, c_x0, *weights = _prediction(coordinates, schedule, dtype, ndim, s, state.t, *times)
    x_s = torch.addcmul(c_x * x, c_x0, x0)
    for j, weight in enumerate(weights, 1):
        x_s = torch.addcmul(x_s, weight, state.recall(f"g{j}"))
    return refresh(coordinates, process, x_s, state, s)


def refresh(
    coordinates: Coordinates, process: Gaussian, x_s: Tensor, state: State, s: Float[Tensor, "rows *axes"]
) -> tuple[Tensor, RowSeeds]:
    """Add the fresh noise of a step from the state's times to s, if the coordinates have any.

    Args:
        coordinates: Coordinates of the method.
        process: The process.
        x_s: Mean of x at s.
        state: The rows at the begin of the step.
        s: [rows, *axes], times gone to.

    Returns:
        (x_s, the rows' next draw).
    """
    if not coordinates.eta:
        return x_s, state.rng
    noise = state.rng.normal(x_s.shape, x_s.dtype, x_s.device)
    scale = _fresh(coordinates, process.schedule, x_s.dtype, x_s.ndim, state.t, s)
    return torch.addcmul(x_s, scale, noise), state.rng.advance()


def correct(coordinates: Coordinates, process: Gaussian, state: State, x0: Tensor) -> Tensor:
    """Correct x_t: repeat the last step with all slopes remembered and with the belief that it led to.

    Args:
        coordinates: Coordinates of the method.
        process: The process.
        state: The rows.
        x0: Belief at t.

    Returns:
        x_t, corrected; as it was where there is no last step.
    """
    slopes = _slopes(state)
    times = [state.recall(f"t{j}") for j in range(1, max(slopes, 1) + 1)]
    c_x, c_x0, c_x1, *weights = _correction(coordinates, process.schedule, x0.dtype, x0.ndim, slopes, state.t, *times)
    x = torch.addcmul(torch.addcmul(c_x * state.x, c_x0, x0), c_x1, state.recall("x1"))
    for j, weight in enumerate(weights, 1):
        x = torch.addcmul(x, weight, state.recall(f"g{j}"))
    return x


def _remembering(coordinates: Coordinates, process: Gaussian, state: State, x: Tensor, x0: Tensor) -> dict[str, Tensor]:
    """The memory one step on, x at t having had belief x0: this slope first, the oldest forgotten."""
    memory, slopes = {}, _slopes(state)
    if "t1" in state.memory:
        memory["t1"] = state.t
    if "x1" in state.memory:
        memory["x1"] = x
    if slopes:
        p, q = _slope(coordinates, process.schedule, x.dtype, x.ndim, state.t)
        memory["g1"] = torch.addcmul(p * x, q, x0)
    for j in range(1, slopes):
        memory |= {f"t{j + 1}": state.recall(f"t{j}"), f"g{j + 1}": state.recall(f"g{j}")}
    return memory


def _slopes(state: State) -> int:
    return sum(name.startswith("g") for name in state.memory)


@memoized
def _slope(
    coordinates: Coordinates, schedule: Schedule, dtype: torch.dtype, ndim: int, t: Tensor
) -> tuple[Tensor, Tensor]:
    sigma = schedule.sigma(t)
    noisy = sigma > 0  # of a frame that waits at t = 0 no slope is ever used
    p, q = coordinates.slope(schedule.alpha(t), sigma)
    return tuple(expand(torch.where(noisy, each, 0.0), dtype, ndim) for each in (p, q))  # type: ignore[return-value]


@memoized
def _fresh(coordinates: Coordinates, schedule: Schedule, dtype: torch.dtype, ndim: int, t: Tensor, s: Tensor) -> Tensor:
    """The noise drawn anew from t to s: sigma_s sqrt(1 - (r_s / r_t)^(2 eta^2))."""
    left = (schedule.alpha(t) * schedule.sigma(s) / (schedule.alpha(s) * schedule.sigma(t))).clamp_max(1)
    left = torch.where(s == t, 1.0, left)
    return expand(schedule.sigma(s) * torch.sqrt(1 - left ** (2 * coordinates.eta**2)), dtype, ndim)


@memoized
def _prediction(
    coordinates: Coordinates, schedule: Schedule, dtype: torch.dtype, ndim: int, s: Tensor, *times: Tensor
) -> tuple[Tensor, ...]:
    """(c_x, c_x0, weights): x_s = c_x x_t + c_x0 x0 + sum of weight_j g_j; `times` are t, t1, t2, ..."""
    t = times[0]
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    ratio, (own, *weights), several = _integrals(coordinates, schedule, t, s, times)
    p, q = coordinates.slope(alpha, sigma)
    c_x = torch.where(several, ratio + own * p, ratio)
    c_x0 = torch.where(several, own * q, schedule.alpha(s) - alpha * ratio)
    return tuple(expand(each, dtype, ndim) for each in (c_x, c_x0, *weights))


@memoized
def _correction(
    coordinates: Coordinates, schedule: Schedule, dtype: torch.dtype, ndim: int, slopes: int, t: Tensor, *times: Tensor
) -> tuple[Tensor, ...]:
    """(c_x, c_x0, c_x1, weights): x = c_x x_t + c_x0 x0 + c_x1 x1 + sum of weight_j g_j; `times` are t1, t2, ...

    Rows with no step behind them, or one whose clock is infinite, stay as they are.
    """
    t1 = times[0]
    ratio, (own, *weights), several = _integrals(coordinates, schedule, t1, t, (t, *times[:slopes]))
    known = several & (t < t1)
    p, q = coordinates.slope(schedule.alpha(t), schedule.sigma(t))
    c_x = torch.where(known, own * p, 1.0)
    rest = (torch.where(known, each, 0.0) for each in (own * q, ratio, *weights))
    return tuple(expand(each, dtype, ndim) for each in (c_x, *rest))


def _integrals(
    coordinates: Coordinates, schedule: Schedule, t: Tensor, s: Tensor, nodes: tuple[Tensor, ...]
) -> tuple[Tensor, list[Tensor], Tensor]:
    """c_s / c_t, the b_j of each node, and which rows know several nodes; the ratio of the others is `ode_step`'s.

    A node is known if its clock is finite, it comes after the next newer one, and that one is known.
    """
    if t.ndim > 1:
        flat = tuple(node.flatten() for node in nodes)
        ratio, weights, several = _integrals(coordinates, schedule, t.flatten(), s.flatten(), flat)
        return ratio.view(t.shape), [weight.view(t.shape) for weight in weights], several.view(t.shape)
    alpha_t, sigma_t, alpha_s, sigma_s = schedule.alpha(t), schedule.sigma(t), schedule.alpha(s), schedule.sigma(s)
    begin, end = coordinates.clock(alpha_t, sigma_t), coordinates.clock(alpha_s, sigma_s)
    clocks = torch.stack([coordinates.clock(schedule.alpha(node), schedule.sigma(node)) for node in nodes], 1)
    known = torch.isfinite(clocks)
    for j in range(1, len(nodes)):
        known[:, j] &= known[:, j - 1] & (nodes[j] > nodes[j - 1])
    several = torch.isfinite(begin) & torch.isfinite(end) & (known.sum(1) > 1) & (s != t)

    unit_t, unit_s = coordinates.unit(alpha_t, sigma_t), coordinates.unit(alpha_s, sigma_s)
    single = sigma_s / sigma_t * (alpha_t * sigma_s / (alpha_s * sigma_t)) ** coordinates.eta**2
    ratio = torch.where(several, unit_s / torch.where(several, unit_t, 1.0), torch.where(s == t, 1.0, single))

    begin, length = torch.where(several, begin, 0.0), torch.where(several, end - begin, 1.0)
    tau = (NODES.to(t) + 1) / 2 * length[:, None]
    measure = torch.where(several, unit_s, 0.0)[:, None] * coordinates.pace(begin[:, None] + tau) * WEIGHTS.to(t) / 2
    scale = length[:, None, None] ** torch.arange(len(nodes), dtype=t.dtype, device=t.device)
    integrals = (coordinates.functions(tau, len(nodes)) / scale * measure[:, :, None]).sum(1) * length[:, None]
    values = coordinates.functions(torch.where(known, clocks - begin[:, None], 0.0), len(nodes)) / scale
    both = known[:, :, None] & known[:, None, :]
    system = torch.where(both, values.mT, torch.eye(len(nodes), dtype=t.dtype, device=t.device))
    weights = torch.linalg.solve(system, torch.where(known, integrals, 0.0))
    return ratio, [torch.where(several, weight, 0.0) for weight in weights.unbind(1)], several
