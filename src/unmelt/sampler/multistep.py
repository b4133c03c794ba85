"""Steps that remember: a function through the slopes of the last few times, integrated exactly.

In a frame (see `frame.py`) a step from t to s is

    x_s = (c_s / c_t) x_t + sum_j b_j g_j,      b_j = c_s integral from tau_t to tau_s of L_j(tau) pace(tau) dtau

with L_j the function of the frame, a polynomial or nearly one, that is 1 at the j-th known time and 0 at the others.
Over times that end at t it is an Adams-Bashforth predictor of as many orders as there are times; over times that
include s, an Adams-Moulton corrector, whose belief at s is the one that the next step needs anyway, so that it costs no
evaluation (Zhao et al., 2023). What is known differs by row. With a single known time, or where the clock is infinite
at either end (in log SNR: from pure noise, to clean data), a step is `carry`'s.

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
from unmelt.process.gaussian import Gaussian, expand
from unmelt.rng import Rows
from unmelt.sampler.coordinates import Coordinates
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State
from unmelt.schedule import Schedule

NODES, WEIGHTS = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(24))
"""Gauss-Legendre on [-1, 1]: good to 1e-12 for everything that is integrated here."""


def check_order(sampler: Sampler, order: int, least: int, most: int) -> None:
    """Refuse an order that a sampler does not have."""
    if isinstance(order, bool) or not isinstance(order, int) or not least <= order <= most:
        name = type(sampler).__name__
        raise UsageError(f"{name} of order {order!r}", f"an order from {least} to {most}", f"{name}(order={most - 1})")


def check_eta(sampler: Sampler, eta: float) -> None:
    """Refuse a share of fresh noise that is not a number from 0 on."""
    if not 0 <= eta < math.inf:
        name = type(sampler).__name__
        raise UsageError(f"{name} with eta={eta}", "eta of 0 (no fresh noise) or more", f"{name}(eta=1.0)")


def start(
    x: Float[Tensor, "rows *shape"],
    t: Float[Tensor, " rows"],
    rng: Rows,
    condition: Condition | None,
    slopes: int,
    corrected: bool = False,
) -> State:
    """Rows that will remember `slopes` past slopes, and none yet: a time that is not before the present is unknown."""
    memory = {f"t{j}": t for j in range(1, max(slopes, corrected) + 1)}
    memory |= {f"g{j}": torch.zeros_like(x) for j in range(1, slopes + 1)}
    return State.start(x, t, rng, condition, **memory, **({"x1": x} if corrected else {}))


def step(coordinates: Coordinates, order: int, denoiser: Denoiser, state: State, s: Float[Tensor, " rows"]) -> State:
    """Correct x_t if `start` asked for it, predict x_s to this order, and remember. Fresh noise is the frame's."""
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
    s: Float[Tensor, " rows"],
    order: int,
) -> tuple[Tensor, Rows]:
    """x_s from x at t, where the belief is x0, with the newest order - 1 slopes remembered; and the rows' next draw."""
    schedule, dtype, ndim = process.schedule, x.dtype, x.ndim
    times = [state.recall(f"t{j}") for j in range(1, order)]
    keep, take, *shares = _prediction(coordinates, schedule, dtype, ndim, s, state.t, *times)
    x_s = torch.addcmul(keep * x, take, x0)
    for j, share in enumerate(shares, 1):
        x_s = torch.addcmul(x_s, share, state.recall(f"g{j}"))
    return refresh(coordinates, process, x_s, state, s)


def refresh(
    coordinates: Coordinates, process: Gaussian, x_s: Tensor, state: State, s: Float[Tensor, " rows"]
) -> tuple[Tensor, Rows]:
    """x_s with the fresh noise of a step from the state's times to s, if the frame has any; and the next draw."""
    if not coordinates.eta:
        return x_s, state.rng
    noise = state.rng.normal(x_s.shape, x_s.dtype, x_s.device)
    scale = _fresh(coordinates, process.schedule, x_s.dtype, x_s.ndim, state.t, s)
    return torch.addcmul(x_s, scale, noise), state.rng.advance()


def correct(coordinates: Coordinates, process: Gaussian, state: State, x0: Tensor) -> Tensor:
    """x_t again: the last step repeated with all slopes remembered, and with the belief x0 that it led to."""
    slopes = _slopes(state)
    times = [state.recall(f"t{j}") for j in range(1, max(slopes, 1) + 1)]
    stay, take, keep, *shares = _correction(coordinates, process.schedule, x0.dtype, x0.ndim, slopes, state.t, *times)
    x = torch.addcmul(torch.addcmul(stay * state.x, take, x0), keep, state.recall("x1"))
    for j, share in enumerate(shares, 1):
        x = torch.addcmul(x, share, state.recall(f"g{j}"))
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
    p, q = coordinates.slope(schedule.alpha(t), schedule.sigma(t))
    return expand(p, dtype, ndim), expand(q, dtype, ndim)


@memoized
def _fresh(coordinates: Coordinates, schedule: Schedule, dtype: torch.dtype, ndim: int, t: Tensor, s: Tensor) -> Tensor:
    """The noise drawn anew from t to s: sigma_s sqrt(1 - (r_s / r_t)^(2 eta^2))."""
    left = (schedule.alpha(t) * schedule.sigma(s) / (schedule.alpha(s) * schedule.sigma(t))).clamp_max(1)
    return expand(schedule.sigma(s) * torch.sqrt(1 - left ** (2 * coordinates.eta**2)), dtype, ndim)


@memoized
def _prediction(
    coordinates: Coordinates, schedule: Schedule, dtype: torch.dtype, ndim: int, s: Tensor, *times: Tensor
) -> tuple[Tensor, ...]:
    """(keep, take, shares): x_s = keep x_t + take x0 + sum of share_j g_j; `times` are t, t1, t2, ..."""
    t = times[0]
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    ratio, (own, *shares), several = _integrals(coordinates, schedule, t, s, times)
    p, q = coordinates.slope(alpha, sigma)
    keep = torch.where(several, ratio + own * p, ratio)
    take = torch.where(several, own * q, schedule.alpha(s) - alpha * ratio)
    return tuple(expand(each, dtype, ndim) for each in (keep, take, *shares))


@memoized
def _correction(
    coordinates: Coordinates, schedule: Schedule, dtype: torch.dtype, ndim: int, slopes: int, t: Tensor, *times: Tensor
) -> tuple[Tensor, ...]:
    """(stay, take, keep, shares): x = stay x_t + take x0 + keep x1 + sum of share_j g_j; `times` are t1, t2, ...

    Rows with no step behind them, or one whose clock is infinite, stay.
    """
    t1 = times[0]
    ratio, (own, *shares), several = _integrals(coordinates, schedule, t1, t, (t, *times[:slopes]))
    known = several & (t < t1)
    p, q = coordinates.slope(schedule.alpha(t), schedule.sigma(t))
    stay = torch.where(known, own * p, 1.0)
    rest = (torch.where(known, each, 0.0) for each in (own * q, ratio, *shares))
    return tuple(expand(each, dtype, ndim) for each in (stay, *rest))


def _integrals(
    coordinates: Coordinates, schedule: Schedule, t: Tensor, s: Tensor, nodes: tuple[Tensor, ...]
) -> tuple[Tensor, list[Tensor], Tensor]:
    """c_s / c_t, the b_j of each node, and which rows know several; the ratio of the others is `carry`'s.

    A node is known if its clock is finite, it comes after the next newer one, and that one is known.
    """
    alpha_t, sigma_t, alpha_s, sigma_s = schedule.alpha(t), schedule.sigma(t), schedule.alpha(s), schedule.sigma(s)
    begin, end = coordinates.clock(alpha_t, sigma_t), coordinates.clock(alpha_s, sigma_s)
    clocks = torch.stack([coordinates.clock(schedule.alpha(node), schedule.sigma(node)) for node in nodes], 1)
    known = torch.isfinite(clocks)
    for j in range(1, len(nodes)):
        known[:, j] &= known[:, j - 1] & (nodes[j] > nodes[j - 1])
    several = torch.isfinite(begin) & torch.isfinite(end) & (known.sum(1) > 1)

    unit_t, unit_s = coordinates.unit(alpha_t, sigma_t), coordinates.unit(alpha_s, sigma_s)
    carried = sigma_s / sigma_t * (alpha_t * sigma_s / (alpha_s * sigma_t)) ** coordinates.eta**2
    ratio = torch.where(several, unit_s / torch.where(several, unit_t, 1.0), carried)

    begin, length = torch.where(several, begin, 0.0), torch.where(several, end - begin, 1.0)
    tau = (NODES.to(t) + 1) / 2 * length[:, None]
    measure = torch.where(several, unit_s, 0.0)[:, None] * coordinates.pace(begin[:, None] + tau) * WEIGHTS.to(t) / 2
    scale = length[:, None, None] ** torch.arange(len(nodes), dtype=t.dtype, device=t.device)
    integrals = (coordinates.functions(tau, len(nodes)) / scale * measure[:, :, None]).sum(1) * length[:, None]
    values = coordinates.functions(torch.where(known, clocks - begin[:, None], 0.0), len(nodes)) / scale
    both = known[:, :, None] & known[:, None, :]
    system = torch.where(both, values.mT, torch.eye(len(nodes), dtype=t.dtype, device=t.device))
    shares = torch.linalg.solve(system, torch.where(known, integrals, 0.0))
    return ratio, [torch.where(several, share, 0.0) for share in shares.unbind(1)], several
