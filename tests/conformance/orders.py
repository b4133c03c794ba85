"""Measured orders of convergence of every deterministic sampler on every schedule, as a table.

PYTHONPATH=tests python tests/conformance/orders.py [FILE]
"""

import math
import sys
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from conformance.subjects import (
    F64,
    PLAIN,
    STEPPED,
    Anisotropic,
    Silent,
    full,
    name,
    slope,
    stated_order,
    tilted,
    unchecked,
)
from torch import Tensor

from unmelt.sampler import Sampler, State, advance
from unmelt.schedule import Schedule, VarianceExploding

STEPS = (16, 32, 48, 64, 96)
FROM, TO = 3.0, 0.2
"""Noise-to-signal ratios between which orders are measured: inside, where nothing is singular."""


def warped(share: Tensor) -> Tensor:
    """Log noise-to-signal ratio on the way: smooth but uneven, as multistep weights are dull otherwise."""
    q = share + 0.05 * torch.sin(2 * torch.pi * share)
    return math.log(FROM) + q * math.log(TO / FROM)


class Order(NamedTuple):
    sampler: str
    schedule: str
    stated: int
    gaussian: float
    mixture: float


def at_ratio(on: Schedule, ratio: float) -> Tensor:
    return on.time(-2 * torch.log(torch.tensor(ratio, dtype=F64)))


def level_shares(steps: int) -> list[float]:
    """Where each step ends, as a share of the way: equal steps, the first of them begun in steps that double.

    A multistep method starts with a step of order 1. Begun at 1 / (4 steps^2) of the way, that costs an error of
    order 4, and a corrected one of order 6, so that what is fitted is the order of the steps themselves.
    """
    ramp = [2.0**-power / steps for power in range(math.ceil(math.log2(steps)) + 2, 0, -1)]
    return ramp + [step / steps for step in range(1, steps + 1)]


def run_all(sampler: Sampler, model: Any, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """x carried from start to end in each of STEPS steps, all at once, [len(STEPS), rows, dim].

    Groups that have arrived wait, s = t, for those that take more steps.
    """
    rows, seeds = len(x), torch.zeros(len(x) * len(STEPS), dtype=torch.int64)
    state: State = sampler.init(model, x.repeat(len(STEPS), 1), full(len(seeds), start), Silent(seeds, seeds))
    for ends in zip_longest(*(level_shares(steps) for steps in STEPS), fillvalue=1.0):
        share = torch.tensor(ends, dtype=F64).repeat_interleave(rows)
        target = torch.where(share < 1, model.process.schedule.time(-2 * warped(share)), end)
        state = advance(model, sampler, state, target)
    return state.x.view(len(STEPS), rows, -1)


def starting_points(dim: int) -> Tensor:
    return 4 * torch.randn(8, dim, dtype=F64, generator=torch.Generator().manual_seed(dim))


@cache
def mixture_reference() -> tuple[Tensor, Tensor]:
    """(y at ratio FROM, y at ratio TO) of dy/dr = -r grad log p(y; r) with y = x / alpha: one ODE for all schedules.

    By classical Runge-Kutta in log r, on the mixture's score and not its posterior mean.
    """
    on = VarianceExploding(0.01, 10.0)
    model = tilted(on)
    start = starting_points(2)

    def rate(y: Tensor, log_r: Tensor) -> Tensor:
        r = log_r.exp()
        t = on.time(-2 * log_r)
        return -(r**2) * model.score(y, full(len(y), t))

    knots = torch.linspace(0, 1, 401, dtype=F64) * torch.log(torch.tensor(TO / FROM, dtype=F64))
    knots = knots + torch.log(torch.tensor(FROM, dtype=F64))
    y, h = start, knots[1] - knots[0]
    for now in knots[:-1]:
        k1 = rate(y, now)
        k2 = rate(y + h / 2 * k1, now + h / 2)
        k3 = rate(y + h / 2 * k2, now + h / 2)
        k4 = rate(y + h * k3, now + h)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return start, y


def gaussian_errors(sampler: Sampler, on: Schedule) -> Tensor:
    """RMS error at each of STEPS against the closed form."""
    truth, start, end = Anisotropic.make(), at_ratio(on, FROM), at_ratio(on, TO)
    x = on.alpha(start) * starting_points(3)
    wanted = truth.flow(x, on, start, end)
    with unchecked():
        reached = run_all(sampler, truth.denoiser(on), x, start, end)
    return ((reached - wanted) / on.alpha(end)).square().mean((1, 2)).sqrt()


def mixture_errors(sampler: Sampler, on: Schedule) -> Tensor:
    """RMS error at each of STEPS against a fine solution."""
    with unchecked():
        before, after = mixture_reference()
        start, end = at_ratio(on, FROM), at_ratio(on, TO)
        reached = run_all(sampler, tilted(on), on.alpha(start) * before, start, end)
    return (reached / on.alpha(end) - after).square().mean((1, 2)).sqrt()


def measured_orders() -> list[Order]:
    steps = torch.tensor(STEPS)
    return [
        Order(
            name(sampler),
            name(on),
            stated_order(sampler),
            slope(gaussian_errors(sampler, on), steps),
            slope(mixture_errors(sampler, on), steps),
        )
        for sampler in STEPPED
        for on in PLAIN
    ]


def table(orders: list[Order]) -> str:
    """In Markdown: one line a sampler, one column a schedule; 'Gaussian / mixture' in each cell."""
    schedules = list(dict.fromkeys(one.schedule for one in orders))
    lines = ["| sampler | order | " + " | ".join(schedules) + " |", "|---" * (len(schedules) + 2) + "|"]
    for sampler, stated in dict.fromkeys((one.sampler, one.stated) for one in orders):
        cells = [f"{one.gaussian:.2f} / {one.mixture:.2f}" for one in orders if one.sampler == sampler]
        lines.append(f"| {sampler} | {stated} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    made = table(measured_orders())
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(made + "\n", encoding="utf-8")
    print(made)
