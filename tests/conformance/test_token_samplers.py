"""What every sampler of tokens promises, found and not listed: rows are rows, whatever shares their batch."""

import pytest
import torch
from conformance.subjects import F64, column, public

import unmelt as um
from unmelt.posterior import Categorical
from unmelt.process import Blend, Mask, Uniform
from unmelt.rng import Rows, fold
from unmelt.sampler import Ancestral, Restart, Sampler, State
from unmelt.sampler import tokens as way

V, L, ROWS = 4, 5, 6
EVERYWHERE = [Ancestral(), Restart(Ancestral(), 1), way.PredictorCorrector(corrector_steps=2)]
MORE = [
    *(way.Unmask(order()) for order in public(way, way.Order)),
    *(way.Unmask(pace=pace()) for pace in public(way, way.Pace)),
    way.Unmask(pace=way.Threshold(0.5), block=2),
    way.Unmask(way.Random(), way.EntropyBound(1.0), min_distance=3),
    way.Unmask(way.LeftToRight(), block=1, end=1),
    way.Remask(8.0),
]
CASES = [
    *((Mask(V), sampler) for sampler in [*(kind() for kind in public(way, Sampler)), *MORE, *EVERYWHERE]),
    *((process, sampler) for process in (Uniform(V), Blend(V)) for sampler in EVERYWHERE),
]
T = column(1.0, 0.9, 0.7, 0.5, 1.0, 0.3)
WAYS = [T * share for share in (0.75, 0.5, 0.25, 0.0)]

every_case = pytest.mark.parametrize(
    ("process", "sampler"), CASES, ids=[f"{type(process).__name__}-{sampler}" for process, sampler in CASES]
)


class Wrong:
    """Beliefs that fit no law, the same for the same x_t."""

    shape = (L,)

    def __init__(self, process):
        self.process = process
        generator = torch.Generator().manual_seed(5)
        self.one, self.two = (torch.randn(process.symbols, L, V, dtype=F64, generator=generator) for _ in range(2))

    def __call__(self, x_t, t, condition=None):
        places = torch.arange(L)
        return Categorical(self.one[x_t, places] + self.two[x_t.roll(1, 1), places] + t.view(-1, 1, 1))


def begun(model, sampler, rows=ROWS):
    process, rng = model.process, Rows.of(4, rows)
    x0 = torch.arange(rows * L).view(rows, L) % V
    x, _ = process.corrupt(x0, T[:rows], rng)
    return sampler.init(model, x, T[:rows], rng.advance())


def finished(model, sampler, state, targets):
    for s in targets:
        state = um.sampler.advance(model, sampler, state, s)
    return state


@every_case
def test_rows_at_their_own_stages_are_rows_alone(process, sampler):
    model = Wrong(process)
    together = finished(model, sampler, begun(Wrong(process), sampler), WAYS)
    assert (together.x < V).all()
    assert together.t.max() == 0
    whole = begun(Wrong(process), sampler)
    alone = State.join([finished(model, sampler, whole[i : i + 1], [s[i : i + 1] for s in WAYS]) for i in range(ROWS)])
    assert torch.equal(together.x, alone.x)
    assert torch.equal(together.rng.draws, alone.rng.draws)


@every_case
def test_split_joined_paused_and_in_another_order(process, sampler):
    model, whole = Wrong(process), begun(Wrong(process), sampler)
    together = finished(model, sampler, whole, WAYS)
    half = finished(model, sampler, whole, WAYS[:2])
    order = torch.tensor([5, 2, 0, 1, 4, 3])
    mixed = State.join([half[order[:4]], half[order[4:]]])
    assert torch.equal(finished(model, sampler, mixed, [s[order] for s in WAYS[2:]]).x, together.x[order])
    odd = torch.tensor([True, False] * 3)
    waited = [torch.where(odd, T, WAYS[0]), *WAYS]
    assert torch.equal(finished(model, sampler, whole, waited).x, together.x)


@every_case
def test_a_seed_is_a_row(process, sampler):
    model = Wrong(process)
    told = {"sampler": sampler, "grid": um.grid.uniform(4)}
    many = um.sample(model, rows=5, seed=7, **told)
    assert torch.equal(um.sample(model, rows=2, seed=7, **told), many[:2])
    assert torch.equal(um.sample(model, rows=1, seed=[fold(7, 3)], **told), many[3:4])
    assert not torch.equal(um.sample(model, rows=5, seed=8, **told), many)
