"""Helpers to enumerate token diffusion: three tokens, four positions, all sequences, in float64."""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from unmelt.posterior import Categorical
from unmelt.rng import RowSeeds, fold

V, L = 3, 4
SEQUENCES = torch.cartesian_prod(*[torch.arange(V)] * L)

NEAR = 0.02
"""Total variation that 120,000 draws of 81 sequences may show."""


def law(seed=0):
    return torch.rand([V] * L, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) ** 4


def times(*values):
    return torch.tensor(values, dtype=torch.float64)


def integral(f, count=24):
    """Over [0, 1], by Gauss and Legendre in u with t = u^3, in which t log t is smooth enough."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes, weights = (1 + nodes) / 2, weights / 2
    return sum(w * 3 * u**2 * f(u**3) for u, w in zip(nodes, weights, strict=True))


class Wrong:
    """A denoiser with random beliefs for every x_t, the same at every time, which fit no distribution."""

    def __init__(self, process, seed=5):
        self.process, self.shape = process, (L,)
        draws = torch.Generator().manual_seed(seed)
        self.logits = 1.5 * torch.randn(process.symbols**L, L, V, dtype=torch.float64, generator=draws)

    def __call__(self, x_t, t, condition=None):
        index = (x_t * process_powers(self.process)).sum(1)
        return Categorical(self.logits[index])


def process_powers(process):
    return torch.tensor([process.symbols**k for k in range(L)])


class Once:
    """A denoiser that is called once for each distinct x_t; all rows are at one time, or times do not matter."""

    def __init__(self, model):
        self.model, self.process, self.shape = model, model.process, model.shape

    def __call__(self, x_t, t, condition=None):
        _, back = torch.unique((x_t * process_powers(self.process)).sum(1), return_inverse=True)
        first = torch.zeros(int(back.max()) + 1, dtype=torch.int64).scatter(0, back, torch.arange(len(x_t)))
        return self.model(x_t[first], t[first], condition).changed(lambda logits, _: logits[back])


def states(process):
    return torch.cartesian_prod(*[torch.arange(process.symbols)] * L)


def walked(model, grid_of_times):
    """The exact law of ancestral sampling, by summing over all states at every time."""
    process = model.process
    every = states(process)
    now = torch.stack([process.limit[every[:, k]] for k in range(L)]).prod(0)
    for t, s in itertools.pairwise(grid_of_times):
        reachable = now > 0
        part = every[reachable]
        rows = torch.full((len(part),), t, dtype=torch.float64)
        each = process.law(part, model(part, rows), rows, torch.full_like(rows, s))
        step = torch.ones(len(part), len(every), dtype=torch.float64)
        for k in range(L):
            step *= each[:, k, every[:, k]]
        now = now[reachable] @ step
    return now


def final(process, now):
    clean = (states(process) < V).all(1)
    assert now[~clean].sum() < 1e-12
    return now[clean]


def any_order(model):
    """log p of every sequence written in a random order, a token a pass, and its expected negative log-likelihood."""
    total, nll = torch.zeros(V**L, dtype=torch.float64), torch.zeros(V**L, dtype=torch.float64)
    orders = list(itertools.permutations(range(L)))
    for order in orders:
        x = torch.full_like(SEQUENCES, V)
        chance = torch.zeros(V**L, dtype=torch.float64)
        for place in order:
            belief = model(x, torch.full((V**L,), 0.5, dtype=torch.float64)).log_probabilities
            chance += belief[torch.arange(V**L), place, SEQUENCES[:, place]]
            x = x.clone()
            x[:, place] = SEQUENCES[:, place]
        total += chance.exp() / len(orders)
        nll -= chance / len(orders)
    return total, nll


def nelbo(model, each, schedule):
    """The bound of every sequence, integrated over t and summed over every x_t."""
    process, every = model.process, states(model.process)

    def at(t):
        rows = torch.full((len(every),), t, dtype=torch.float64)
        belief = model(every, rows)
        seen = process.likelihood(every, rows)
        out = torch.zeros(len(SEQUENCES), dtype=torch.float64)
        for number, x0 in enumerate(SEQUENCES):
            chance = torch.stack([seen[:, k, x0[k]] for k in range(L)]).prod(0)
            live = chance > 0
            part = Categorical(belief.logits[live])
            cost = each(process, every[live], x0.expand(int(live.sum()), L), part, rows[live]).sum(1)
            out[number] = chance[live] @ cost
        return out

    return integral(at)


class Crowd(RowSeeds):
    """One generator for all rows: fast statistics over many rows, which `RowSeeds` draws one by one.

    The numbers of one draw are the same whatever their shape, so that a draw that is made twice shows.
    """

    def _draw(self, fill, shape, dtype, device):
        rows, *rest = shape
        generator = torch.Generator().manual_seed(fold(int(self.seeds[0]), int(self.draws.max())))
        drawn = torch.rand(math.prod(rest), rows, generator=generator, dtype=dtype)
        return drawn.T.reshape(tuple(shape))

    def advance(self):
        return Crowd(self.seeds, self.draws + 1)

    def __getitem__(self, rows):
        return Crowd(self.seeds[rows], self.draws[rows])


def sampled(model, sampler, steps=0, rows=120_000, x=None, times=None):
    rng = Crowd(torch.full((rows,), 11), torch.zeros(rows, dtype=torch.int64))
    one, model = torch.ones(rows, dtype=torch.float64), Once(model)
    x = model.process.prior((rows, L), rng) if x is None else x.expand(rows, L)
    state = sampler.init(model, x, one, rng.advance())
    for s in times[1:] if times else [k / steps for k in range(steps - 1, -1, -1)]:
        state = sampler.step(model, state, one * s)
    assert (state.x < V).all()
    return torch.bincount((state.x * torch.tensor([V**k for k in range(L - 1, -1, -1)])).sum(1), minlength=V**L) / rows


def far(found: Tensor, expected: Tensor) -> float:
    return (found - expected).abs().sum().item() / 2
