"""What every public sampler of tokens must do: a row does not depend on the rows that share its batch."""

import pytest
import torch
from conformance.subjects import F64, column, public

import unmelt as um
from unmelt.backbone import Transformer
from unmelt.denoiser import Blockwise
from unmelt.posterior import Categorical
from unmelt.process import Blend, Mask, Uniform
from unmelt.rng import RowSeeds, fold, seeded
from unmelt.sampler import Ancestral, Restart, Sampler, State
from unmelt.sampler import tokens as way

V, L, ROWS = 4, 5, 6
EVERYWHERE = [Ancestral(), Restart(Ancestral(), 1), way.PredictorCorrector(corrector_steps=2)]
MORE = [
    *(way.Unmask(order()) for order in public(way, way.Order)),
    *(way.Unmask(pace=pace()) for pace in public(way, way.Pace)),
    way.Unmask(pace=way.Threshold(0.5), block=2),
    way.Unmask(way.Random(), way.EntropyBound(1.0), min_distance=3),
    way.Unmask(way.LeftToRight(), block=1, end_token=1),
    way.Remask(8.0),
    way.Unmask(cache=True),
    way.Unmask(way.Random(), way.Threshold(0.5), cache=True),
]
CASES = [
    *((Mask(V), sampler) for sampler in [*(kind() for kind in public(way, Sampler)), *MORE, *EVERYWHERE]),
    *((process, sampler) for process in (Uniform(V), Blend(V)) for sampler in EVERYWHERE),
]
T = column(1.0, 0.9, 0.7, 0.5, 1.0, 0.3)
TARGETS = [T * share for share in (0.75, 0.5, 0.25, 0.0)]

every_case = pytest.mark.parametrize(
    ("process", "sampler"), CASES, ids=[f"{type(process).__name__}-{sampler}" for process, sampler in CASES]
)


class Wrong:
    """A denoiser whose beliefs are no law's conditionals, and the same for the same x_t."""

    shape = (L,)

    def __init__(self, process):
        self.process = process
        generator = torch.Generator().manual_seed(5)
        self.one, self.two = (torch.randn(process.symbols, L, V, dtype=F64, generator=generator) for _ in range(2))

    def __call__(self, x_t, t, condition=None):
        places = torch.arange(L)
        return Categorical(self.one[x_t, places] + self.two[x_t.roll(1, 1), places] + t.view(-1, 1, 1))


def denoiser(process, sampler):
    """`Wrong`, or a network with a cache for the samplers that need one."""
    if not getattr(sampler, "cache", False):
        return Wrong(process)
    with seeded(3):
        network = Transformer(input_vocabulary=V + 1, vocabulary=V, length=L, width=8, depth=2, heads=2, block=2)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return Blockwise(network.double().eval(), process, (L,))


def begun(model, sampler, rows=ROWS):
    process, rng = model.process, RowSeeds.of(4, rows)
    x0 = torch.arange(rows * L).view(rows, L) % V
    x, _ = process.corrupt(x0, T[:rows], rng)
    return sampler.init(model, x, T[:rows], rng.advance())


def finished(model, sampler, state, targets):
    for s in targets:
        state = um.sampler.advance(model, sampler, state, s)
    return state


@every_case
def test_rows_at_different_times_are_the_rows_alone(process, sampler):
    model = denoiser(process, sampler)
    together = finished(model, sampler, begun(model, sampler), TARGETS)
    assert (together.x < V).all()
    assert together.t.max() == 0
    whole = begun(model, sampler)
    alone = State.join(
        [finished(model, sampler, whole[i : i + 1], [s[i : i + 1] for s in TARGETS]) for i in range(ROWS)]
    )
    assert torch.equal(together.x, alone.x)
    assert torch.equal(together.rng.draws, alone.rng.draws)


@every_case
def test_rows_split_joined_paused_and_reordered_are_the_same_rows(process, sampler):
    model = denoiser(process, sampler)
    whole = begun(model, sampler)
    together = finished(model, sampler, whole, TARGETS)
    half = finished(model, sampler, whole, TARGETS[:2])
    order = torch.tensor([5, 2, 0, 1, 4, 3])
    mixed = State.join([half[order[:4]], half[order[4:]]])
    assert torch.equal(finished(model, sampler, mixed, [s[order] for s in TARGETS[2:]]).x, together.x[order])
    odd = torch.tensor([True, False] * 3)
    waited = [torch.where(odd, T, TARGETS[0]), *TARGETS]
    assert torch.equal(finished(model, sampler, whole, waited).x, together.x)


@every_case
def test_a_seed_gives_the_same_row_in_any_batch(process, sampler):
    model = denoiser(process, sampler)
    settings = {"sampler": sampler, "grid": um.grid.uniform(4)}
    many = um.sample(model, rows=5, seed=7, **settings)
    assert torch.equal(um.sample(model, rows=2, seed=7, **settings), many[:2])
    assert torch.equal(um.sample(model, rows=1, seed=[fold(7, 3)], **settings), many[3:4])
    assert not torch.equal(um.sample(model, rows=5, seed=8, **settings), many)
